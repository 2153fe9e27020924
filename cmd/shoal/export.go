package main

import (
	"errors"
	"fmt"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"shoal/learner/onnx"
	"shoal/learner/safetensors"
)

// exported is what export says at its end.
type exported struct {
	Path  string `json:"path"`
	Bytes int64  `json:"bytes"`
}

// newExportCmd is shoal export: trained models for other programs.
func newExportCmd(o *options) *cobra.Command {
	var model, out string
	cmd := &cobra.Command{
		Use:   "onnx",
		Short: "Write a model as an ONNX file, for inference engines",
		Long: "Write the model that a run left, model.safetensors, as an ONNX file of operator set 13.\n\n" +
			"Its input is \"input\", (N, 3, H, W) float32, (v/255 - mean)/std of red, green and blue; its output is \"logits\",\n" +
			"(N, classes). mean, std and class_names are in the file's metadata. PyTorch needs no export: model.safetensors is\n" +
			"a state dict of torchvision's model.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return exportONNX(cmd, o, model, out) },
	}
	cmd.Flags().StringVarP(&model, "model", "m", "", "`file` of the model, as a run leaves it")
	cmd.Flags().StringVarP(&out, "out", "O", "model.onnx", "`file` to write")
	return group("export", "Write trained models for other programs", cmd)
}

// exportONNX reads a checkpoint and writes it as ONNX.
func exportONNX(cmd *cobra.Command, o *options, model, out string) error {
	if model == "" {
		return fail(exitUsage, errors.New("export: no model; give --model FILE, such as shoal-state/model.safetensors"))
	}
	checkpoint, err := safetensors.Read(model)
	if err != nil {
		return fail(exitData, fmt.Errorf("open model: %w", err))
	}
	b, err := onnx.Encode(checkpoint, thisBuild(version).Version)
	if err != nil {
		return fail(exitData, fmt.Errorf("export %s: %w", model, err))
	}
	if err := renameio.WriteFile(out, b, 0o644); err != nil { // at once or not at all
		return fmt.Errorf("write ONNX model: %w", err)
	}
	if o.json {
		return printJSON(cmd.OutOrStdout(), exported{out, int64(len(b))})
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %s, operator set 13, input \"input\", output \"logits\"\n", out, humanBytes(int64(len(b))))
	return err
}
