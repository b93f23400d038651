// Package console is the page of the admin listener: its documents, scripts and
// styles, in the binary.
//
// It holds nothing of what it shows. The page asks the admin API as any program
// does, and puts what comes into the document as text. [Policy] lets it load what is
// embedded here and nothing else, run no script and apply no style that stands in a
// document, and be embedded nowhere.
package console
