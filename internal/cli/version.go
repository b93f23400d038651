package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

type versionAnswer struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Time     string `json:"time,omitempty"`
	Modified bool   `json:"modified,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func newVersionCommand(s *streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print which build this is",
		Args:  exactly(0, "nothing"),
	}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		v := buildVersion()
		if *asJSON {
			return printJSON(s.stdout, v)
		}
		line := "keyway " + v.Version
		if v.Revision != "" {
			line += " (" + v.Revision[:min(12, len(v.Revision))]
			if v.Modified {
				line += ", modified"
			}
			line += ")"
		}
		_, err := fmt.Fprintf(s.stdout, "%s %s %s\n", line, v.Go, v.Platform)
		return err
	}
	return cmd
}

func buildVersion() versionAnswer {
	v := versionAnswer{Version: "(devel)", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if info.Main.Version != "" {
		v.Version = info.Main.Version
	}
	for _, set := range info.Settings {
		switch set.Key {
		case "vcs.revision":
			v.Revision = set.Value
		case "vcs.time":
			v.Time = set.Value
		case "vcs.modified":
			v.Modified = set.Value == "true"
		}
	}
	return v
}
