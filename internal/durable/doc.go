// Package durable is a folder whose files survive whatever ends the process that
// writes them: a kill, a full disk, a power failure.
//
// What it promises: a file is there as it was, or as it was to be; once a call has
// returned, it is as it was to be, and nothing takes that back. Of those who have
// the folder open, in one process or many, one at a time is in it, and a process that
// dies lets go. What others than the owner could read, change or enter is refused.
//
// It says nothing of what is in a file, nor of two files together: in which order they
// are written, so that what is between two writes makes sense too, is for the room
// whose folder it is. Those are internal/keystore, internal/fleet and internal/audit.
//
// The volume must have locks that hold between those who mount it: any local file
// system, and NFS, but not SMB.
//
// [Folder.OnStep] lets a test end a write between any two things that it does.
package durable
