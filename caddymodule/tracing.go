package caddymodule

// This file adds to the traces that Caddy's directive tracing makes: what the check
// found, to Caddy's own span, and a span for the time that the store takes. Where a
// request isn't traced it does nothing.

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// tracerName is the instrumentation scope: https://opentelemetry.io/docs/specs/otel/glossary/#instrumentation-scope
const tracerName = "github.com/caddyrevocation/caddy-revocation/caddymodule"

// traceStore begins the span of a change that must become durable. The function that it
// returns ends it.
func traceStore(ctx context.Context, records ...revocation.Record) (context.Context, func(error)) {
	parent := trace.SpanFromContext(ctx)
	if !parent.IsRecording() {
		return ctx, func(error) {}
	}
	attributes := []attribute.KeyValue{attribute.Int("token_revocation.records", len(records))}
	if len(records) > 0 {
		attributes = append(attributes, attribute.String("token_revocation.source", records[0].Source))
	}
	ctx, span := parent.TracerProvider().Tracer(tracerName).Start(ctx, "token_revocation.store",
		trace.WithSpanKind(trace.SpanKindInternal), trace.WithAttributes(attributes...))
	return ctx, func(err error) {
		if err != nil {
			span.SetStatus(codes.Error, err.Error())
		}
		span.End()
	}
}

// traceCheck says on the request's span what the check found. rejected is nil where it
// passes.
func traceCheck(ctx context.Context, verdict string, rejected *rejection) {
	span := trace.SpanFromContext(ctx)
	if !span.IsRecording() {
		return
	}
	attributes := []attribute.KeyValue{attribute.String("token_revocation.verdict", verdict)}
	if rejected != nil && rejected.found {
		attributes = append(attributes, attribute.String("token_revocation.source", rejected.source()))
	}
	if rejected != nil && rejected.selector != "" {
		attributes = append(attributes, attribute.String("token_revocation.selector", string(rejected.selector)))
	}
	span.SetAttributes(attributes...)
}
