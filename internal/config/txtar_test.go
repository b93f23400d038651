package config

import (
	"strings"
)

// archiveFile is a file of a txtar archive: a line -- name --, then its text.
type archiveFile struct{ name, data string }

func parseArchive(text string) (comment string, files []archiveFile) {
	cur := &comment
	for line := range strings.Lines(text) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "-- "); ok && strings.HasSuffix(name, " --") {
			files = append(files, archiveFile{name: strings.TrimSuffix(name, " --")})
			cur = &files[len(files)-1].data
			continue
		}
		*cur += line
	}
	return comment, files
}

func formatArchive(comment string, files []archiveFile) string {
	var b strings.Builder
	b.WriteString(comment)
	for _, f := range files {
		b.WriteString("-- " + f.name + " --\n" + f.data)
	}
	return b.String()
}
