package main

// window is how many bytes of each text are looked for first. No text is shorter.
const window = 8

// index finds any of many texts in one pass. Of each text it knows one window of
// eight bytes; at each byte of what is searched, the last eight are looked up, in a
// bit set first, which says no nearly always. The time is that of the bytes searched,
// however many texts there are.
type index struct {
	bits  []uint64
	texts map[uint64][]entry
}

type entry struct {
	text string
	at   int // of the window in it
	id   int
}

const bitCount = 1 << 27 // 16 MB: a few in a thousand of these are set

func newIndex() *index {
	return &index{bits: make([]uint64, bitCount/64), texts: map[uint64][]entry{}}
}

// mix spreads eight bytes over the bits (Fibonacci hashing).
func mix(w uint64) uint64 { return (w ^ w>>29) * 0x9E3779B97F4A7C15 >> (64 - 27) }

func windowAt(text string, at int) (w uint64) {
	for i := range window {
		w = w<<8 | uint64(text[at+i])
	}
	return w
}

// add takes a text of at least eight bytes, known by id. Of its windows that one is
// taken which the fewest other texts have.
func (x *index) add(text string, id int) {
	best, fewest := 0, int(^uint(0)>>1)
	last := len(text) - window
	for _, at := range []int{last, last / 2, last / 4, last * 3 / 4, 0} {
		if n := len(x.texts[windowAt(text, at)]); n < fewest {
			best, fewest = at, n
		}
		if fewest == 0 {
			break
		}
	}
	w := windowAt(text, best)
	x.texts[w] = append(x.texts[w], entry{text: text, at: best, id: id})
	b := mix(w)
	x.bits[b/64] |= 1 << (b % 64)
}

// search calls f for each text that is in s, with where it begins.
func (x *index) search(s []byte, f func(id, at int)) {
	if len(s) < window {
		return
	}
	var w uint64
	for i, c := range s {
		w = w<<8 | uint64(c)
		if i < window-1 {
			continue
		}
		b := mix(w)
		if x.bits[b/64]&(1<<(b%64)) == 0 {
			continue
		}
		for _, e := range x.texts[w] {
			from := i - (window - 1) - e.at
			if from >= 0 && from+len(e.text) <= len(s) && string(s[from:from+len(e.text)]) == e.text {
				f(e.id, from)
			}
		}
	}
}
