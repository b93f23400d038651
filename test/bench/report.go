package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"runtime"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// report is what a run found out.
type report struct {
	Date   string   `json:"date"`
	Go     string   `json:"go"`
	System string   `json:"system"`
	CPUs   int      `json:"cpus"`
	Notes  []string `json:"notes,omitempty"`
	Tables []table  `json:"tables"`
}

func newReport() report {
	return report{
		Date: time.Now().UTC().Format(time.DateOnly), Go: runtime.Version(),
		System: runtime.GOOS + "/" + runtime.GOARCH, CPUs: runtime.NumCPU(),
	}
}

// table is one section, or half of one.
type table struct {
	Title   string
	Columns []column
	Rows    []row
	Notes   []string
}

type column struct {
	key, head string
	decimals  int
}

// row has a value for each column; NaN leaves it out.
type row struct {
	name   string
	values []float64
}

var none = math.NaN()

// MarshalJSON makes each row an object by the columns' keys.
func (t table) MarshalJSON() ([]byte, error) {
	rows := make([]map[string]any, 0, len(t.Rows))
	for _, r := range t.Rows {
		object := map[string]any{"name": r.name}
		for i, v := range r.values {
			if !math.IsNaN(v) {
				object[t.Columns[i].key] = json.Number(strconv.FormatFloat(v, 'f', t.Columns[i].decimals, 64))
			}
		}
		rows = append(rows, object)
	}
	return json.Marshal(map[string]any{"title": t.Title, "rows": rows, "notes": t.Notes})
}

func (r *report) json(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(r)
}

func (r *report) text(w io.Writer) error {
	fmt.Fprintf(w, "%s, %s, %s, %d CPUs\n", r.Date, r.Go, r.System, r.CPUs)
	for _, n := range r.Notes {
		fmt.Fprintln(w, n)
	}
	for _, t := range r.Tables {
		fmt.Fprintf(w, "\n%s\n", t.Title)
		tw := tabwriter.NewWriter(w, 0, 8, 3, ' ', tabwriter.AlignRight)
		width := 0
		for _, row := range t.Rows {
			width = max(width, len([]rune(row.name)))
		}
		// tabwriter aligns to one side; names belong on the other.
		line := func(name string, cells []string) {
			fmt.Fprintf(tw, "  %s%s\t%s\t\n", name, strings.Repeat(" ", width-len([]rune(name))), strings.Join(cells, "\t"))
		}
		heads := make([]string, len(t.Columns))
		for i, c := range t.Columns {
			heads[i] = c.head
		}
		if strings.Join(heads, "") != "" {
			line("", heads)
		}
		for _, row := range t.Rows {
			cells := make([]string, len(row.values))
			for i, v := range row.values {
				if !math.IsNaN(v) {
					cells[i] = strconv.FormatFloat(v, 'f', t.Columns[i].decimals, 64)
				}
			}
			line(row.name, cells)
		}
		if err := tw.Flush(); err != nil {
			return err
		}
		for _, n := range t.Notes {
			fmt.Fprintf(w, "  %s\n", n)
		}
	}
	return nil
}
