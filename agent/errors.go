package agent

import "errors"

// Errors that a caller may tell apart, wrapped in ones that name value and remedy.
var (
	ErrBusy    = errors.New("busy")          // a port or the state directory is in use
	ErrData    = errors.New("bad data")      // the data set cannot be read
	ErrRefused = errors.New("cannot join")   // wrong key, other version, other configuration, identity in use
	ErrState   = errors.New("damaged state") // a file of the state directory cannot be used
	ErrDiverge = errors.New("diverged")      // round after round nobody's parameters stay finite
)
