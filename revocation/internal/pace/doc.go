// Package pace limits rates and remembers things in bounded memory, however many
// different senders there are.
//
// Its clock is the time that has really passed since a moment of the caller's choice.
// The time of day won't do: it can be set back.
package pace
