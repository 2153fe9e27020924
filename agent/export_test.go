package agent

import (
	"context"

	"github.com/rs/zerolog"

	"shoal/configs"
)

// RunAt is Run, and calls at before and after every step of a round's protocol.
func RunAt(ctx context.Context, cfg configs.Config, version string, log zerolog.Logger, at func(step string, coordinates bool)) error {
	return run(ctx, cfg, version, log, at)
}
