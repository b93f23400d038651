package keystore

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// checkOwner refuses to write into another user's folder as root: root may, but
// then that user can't read what is his.
func checkOwner(path string, info fs.FileInfo, uid int) error {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || uid != 0 || stat.Uid == 0 {
		return nil
	}
	return fmt.Errorf("%s: expected to be run as its owner, the user %d, whose gateway could not read what root writes; found root; run it with: --user %d, runAsUser: %d or sudo -u '#%d'",
		path, stat.Uid, stat.Uid, stat.Uid, stat.Uid)
}

func checkOwned(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	return checkOwner(path, info, os.Geteuid())
}
