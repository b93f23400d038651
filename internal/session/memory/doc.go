// Package memory keeps sessions in the process: they end with it, and no other
// replica sees them. For tests, and for a gateway that asks for nothing more.
package memory
