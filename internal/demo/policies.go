package demo

import (
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

//go:embed config/policies
var policyFiles embed.FS

// PoliciesFolder is where Start puts the policies of who may do what, as files that
// can be edited while the demo runs.
func PoliciesFolder(dir string) string { return filepath.Join(dir, "policies") }

// layOutPolicies writes the policies to a folder. They may be read and changed by who
// runs the demo, and by nobody else: who writes there says who may do what.
func layOutPolicies(folder string) error {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return fmt.Errorf("the policies could not be put down: %w", err)
	}
	const root = "config/policies"
	entries, err := fs.ReadDir(policyFiles, root)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		text, err := policyFiles.ReadFile(root + "/" + entry.Name())
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(folder, entry.Name()), text, 0o600); err != nil {
			return fmt.Errorf("the policies could not be put down: %w", err)
		}
	}
	return nil
}
