// Package cli is the commands: what they take, what they print, and their exit
// codes. 0 means that it is so, 1 that it is not, 2 that the call was wrong.
//
// It decides nothing about requests or keys; it asks the rooms that do and puts
// their answers into words, or into JSON with --json. Nothing here calls
// os.Exit or reads the process environment: Run is given everything, so a test
// runs a command as a user does.
package cli
