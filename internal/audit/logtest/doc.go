// Package logtest is what every audit.Log must pass.
package logtest
