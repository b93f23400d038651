package verify

import (
	"encoding/xml"
	"io"
	"strings"
	"time"
)

// junit is the form that pipelines read: one suite, each check a case of it.
type junit struct {
	XMLName  xml.Name     `xml:"testsuites"`
	Tests    int          `xml:"tests,attr"`
	Failures int          `xml:"failures,attr"`
	Skipped  int          `xml:"skipped,attr"`
	Suites   []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name      string      `xml:"name,attr"`
	Tests     int         `xml:"tests,attr"`
	Failures  int         `xml:"failures,attr"`
	Errors    int         `xml:"errors,attr"`
	Skipped   int         `xml:"skipped,attr"`
	Time      float64     `xml:"time,attr"`
	Timestamp string      `xml:"timestamp,attr"`
	Cases     []junitCase `xml:"testcase"`
}

type junitCase struct {
	Class   string        `xml:"classname,attr"`
	Name    string        `xml:"name,attr"`
	Time    float64       `xml:"time,attr"`
	Failure *junitFailure `xml:"failure,omitempty"`
	Skipped *junitSkipped `xml:"skipped,omitempty"`
	Output  string        `xml:"system-out,omitempty"`
}

type junitFailure struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

type junitSkipped struct {
	Message string `xml:"message,attr"`
}

// WriteJUnit writes the report as JUnit XML.
func WriteJUnit(w io.Writer, r Report) error {
	suite := junitSuite{Name: "keyway verify", Tests: len(r.Checks), Timestamp: r.At.UTC().Format(time.RFC3339)}
	for _, c := range r.Checks {
		one := junitCase{Class: "keyway." + strings.ReplaceAll(c.ID, "/", "_"), Name: c.Name, Time: float64(c.TookMS) / 1000}
		switch {
		case c.Skipped:
			one.Skipped = &junitSkipped{c.Saw}
			suite.Skipped++
		case !c.OK:
			one.Failure = &junitFailure{c.Saw, "saw: " + c.Saw + "\ncause: " + c.Cause + "\ncure: " + c.Cure}
			suite.Failures++
		default:
			one.Output = c.Saw
		}
		suite.Time += one.Time
		suite.Cases = append(suite.Cases, one)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	encoder := xml.NewEncoder(w)
	encoder.Indent("", "  ")
	if err := encoder.Encode(junit{Tests: suite.Tests, Failures: suite.Failures, Skipped: suite.Skipped, Suites: []junitSuite{suite}}); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}
