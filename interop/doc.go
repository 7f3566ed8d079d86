// Package interop tests the product against foreign libraries and clients. It
// has no code of its own.
package interop
