// Package source sees when a secret that is handed in changes: a file replaced in
// place, renamed over, or swapped by symlink as Kubernetes does, and a previous
// value that appears beside it and goes again.
//
// A [Watcher] reports a [Reading] when what is there differs from what it last
// reported, and a [Trouble] when it can't be used. What it promises:
//
//   - The last good value stays. Trouble is reported, and replaces nothing.
//   - A value is reported only when two looks, [Options.Settle] apart, agree on
//     it and the files did not change in between. A file that is being written
//     in pieces is waited for. The value and the previous value of a secret are
//     looked at together, so that they are of one moment.
//   - Trouble is said once, again when it becomes another, and when it is over.
//   - A lost event costs [Options.Poll] at most: folders are watched, and
//     everything is read again now and then, whether or not something was heard.
//   - Nothing that is in a file's place blocks it: a pipe or device is not
//     opened.
//
// Folders are watched and not files: a watch on a file follows the file, and
// falls silent when another one takes its name. For each path that is its
// folder, and each folder that holds a symlink on the way.
//
// What no reader can tell: a writer that stops for longer than Settle in the
// middle of a file. Rename a whole file over the old one, and it can't happen.
package source
