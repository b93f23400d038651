package audit

import (
	"encoding/json"
	"fmt"
	"time"
)

// dropped is the data of TypeDropped.
type dropped struct {
	Before uint64 `json:"before"` // the first that is kept
	Hash   string `json:"hash"`   // of the one before it, as its prev
}

func droppedEvent(before uint64, hash string, retention time.Duration) Event {
	data, _ := json.Marshal(dropped{before, hash}) // it is two plain members
	return Event{
		ID: fmt.Sprintf("dropped/%d", before), Type: TypeDropped, Data: data,
		Detail: fmt.Sprintf("entries before %d were older than %s", before, retention),
	}
}

// droppedBefore is what an entry says was dropped.
func droppedBefore(kind string, data []byte) (before uint64, ok bool) {
	if kind != TypeDropped {
		return 0, false
	}
	var d dropped
	if json.Unmarshal(data, &d) != nil {
		return 0, false
	}
	return d.Before, true
}
