package main

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"html"
	"net/url"
	"strconv"
	"strings"
)

// form is a way in which a secret may have been written.
type form struct {
	name, text string
}

// pieceLength is that of the longest text that is looked for. Of a longer secret two
// pieces are: its middle and its end. In a JSON web token those are of the payload
// and of the signature; its beginning is that of all others too.
const pieceLength = 48

// formsOf lists the ways in which a secret may have been written, each once.
func formsOf(value string) []form {
	if len(value) <= pieceLength {
		return written(value)
	}
	middle := (len(value) - pieceLength) / 2
	return append(written(value[middle:middle+pieceLength]), written(value[len(value)-pieceLength:])...)
}

func written(v string) []form {
	var all []form
	add := func(name, text string) {
		if len(text) < window {
			return
		}
		for _, f := range all {
			if f.text == text {
				return
			}
		}
		all = append(all, form{name, text})
	}
	add("as it is", v)
	query := url.QueryEscape(v)
	add("percent-encoded", query)
	add("percent-encoded", lowerEscapes(query))
	add("percent-encoded", url.PathEscape(v))
	add("percent-encoded", strings.ReplaceAll(query, "+", "%20"))
	add("percent-encoded twice", url.QueryEscape(query))
	add("in hex", hex.EncodeToString([]byte(v)))
	add("in hex", strings.ToUpper(hex.EncodeToString([]byte(v))))
	if text, err := json.Marshal(v); err == nil {
		add("escaped as in JSON", string(text[1:len(text)-1]))
		twice, _ := json.Marshal(string(text)) // a log line in a log line
		add("escaped as in JSON twice", strings.TrimSuffix(strings.TrimPrefix(string(twice), `"\"`), `\""`))
	}
	quoted := strconv.Quote(v)
	add("quoted as in Go", quoted[1:len(quoted)-1])
	add("escaped as in HTML", html.EscapeString(v))
	// Base64 of something longer that holds it: three ways, by where it begins.
	for before := range 3 {
		text := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("\x00", before) + v))
		// The first letters mix with what is in front of it, the last ones with what
		// follows, and with padding.
		from := []int{0, 2, 3}[before]
		to := (before + len(v)) * 8 / 6
		if to-from < minBase64 {
			continue
		}
		text = text[from:to]
		add("in base64", text)
		add("in base64url", strings.NewReplacer("+", "-", "/", "_").Replace(text))
	}
	return all
}

// minBase64 keeps a short value's letters from being found by chance.
const minBase64 = 10

func lowerEscapes(s string) string {
	b := []byte(s)
	for i := 0; i+2 < len(b); i++ {
		if b[i] == '%' {
			copy(b[i+1:i+3], strings.ToLower(string(b[i+1:i+3])))
		}
	}
	return string(b)
}
