// Package parts holds no code. Its test tells who runs `go test ./...` which
// tests were left out on this machine, and why.
package parts
