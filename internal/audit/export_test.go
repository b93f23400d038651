package audit

// FailWrites has every write stop where step returns an error, as a process that
// dies there would.
func (f *Folder) FailWrites(step func(string) error) { f.files.OnStep(step) }
