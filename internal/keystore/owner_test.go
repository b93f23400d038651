package keystore

import (
	"os"
	"strings"
	"syscall"
	"testing"
)

func TestRootDoesNotWriteIntoAnothersFolder(t *testing.T) {
	dir := t.TempDir()
	info := must(os.Stat(dir))(t)
	info.Sys().(*syscall.Stat_t).Uid = 10001
	if err := checkOwner(dir, info, 0); err == nil || !strings.Contains(err.Error(), "runAsUser: 10001") {
		t.Errorf("got %v", err)
	}
	if err := checkOwner(dir, info, 10001); err != nil {
		t.Error(err)
	}
	info.Sys().(*syscall.Stat_t).Uid = 0
	if err := checkOwner(dir, info, 0); err != nil {
		t.Error(err)
	}
}
