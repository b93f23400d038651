// Package limit says when somebody asks for too much: so many times in so long,
// for each of those who are told apart.
package limit
