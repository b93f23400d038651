package admin

import "strings"

// Nearest is the known name that was probably meant, or "".
func (e *UnknownSecretError) Nearest() string {
	asked := strings.ToLower(strings.ReplaceAll(e.Name, "_", "-"))
	if asked == "" || len(asked) > 64 {
		return ""
	}
	best, least := "", max(1, len(asked)/3)+1
	for _, known := range e.Known {
		d := distance(asked, known)
		if len(asked) > 2 && strings.HasPrefix(known, asked) {
			d = 1 // "session" for session-key
		}
		if d < least {
			best, least = known, d
		}
	}
	return best
}

// distance is Levenshtein's: insertions, deletions and replacements.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
