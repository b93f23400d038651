package fleet

import (
	"context"
	"time"
)

// Register keeps the last word of each replica. It is safe for concurrent use,
// and every call ends within a few seconds, whatever ctx says.
//
// All times are by the register's own clock, so that they can be compared with
// each other whoever wrote them.
type Register interface {
	// Put notes report as the last word of the replica id, which counts as live
	// for as long as live from now on, and is forgotten keep after that, once
	// anybody calls Put. It returns how many count as live, this one included.
	Put(ctx context.Context, id string, report []byte, live, keep time.Duration) (count int, err error)
	// List returns the last word of every replica that is not forgotten.
	List(ctx context.Context) (Listing, error)
}

// Listing is what a [Register] knows at one moment.
type Listing struct {
	Now time.Time
	// Since is when the register began. A Redis that came back empty has
	// forgotten everybody until they speak again; so has one that is new. Zero:
	// nobody has spoken yet.
	Since   time.Time
	Entries []Entry // in no order
}

// Entry is the last word of one replica.
type Entry struct {
	ID     string
	Seen   time.Time // when it said so
	Until  time.Time // counts as live until then
	Report []byte
}
