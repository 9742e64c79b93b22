package main

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/klog/v2"
	"sigs.k8s.io/yaml"

	"github.com/federator/federator/federation"
)

func (a *app) agentCmd() *cobra.Command {
	var flags agentFlags
	var show bool
	cmd := &cobra.Command{
		Use: "agent", Short: "Run the replica of a data directory", Args: usage(cobra.NoArgs),
		Long: `Run the replica that init or join made. Flags override the config file. It ends
cleanly on SIGTERM and Ctrl-C.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := flags.config(cmd.Flags())
			if err != nil {
				return err
			}
			if show {
				return a.printConfig(config)
			}
			log := a.logger(config.Log)
			klog.SetSlogLogger(log) // what client-go has to say
			err = federation.Run(cmd.Context(), config, log, nil)
			if errors.Is(err, federation.ErrLeft) { // as it was told to
				return nil
			}
			return err
		},
	}
	flags.flags(cmd.Flags(), a.env)
	cmd.Flags().BoolVar(&show, "print-config", false, "print the effective config and end")
	return cmd
}

// effectiveConfig is the file, overridden by the flags that were given, with
// defaults for the rest.
func effectiveConfig(file string, flags federation.Config, given *pflag.FlagSet) (federation.Config, error) {
	config := federation.Config{DataDir: flags.DataDir}
	if file != "" {
		var err error
		if config, err = federation.LoadConfig(file); err != nil {
			return config, err
		}
	}
	override(given, "peer-address", &config.Advertise.Peer, flags.Advertise.Peer)
	override(given, "gossip-address", &config.Advertise.Gossip, flags.Advertise.Gossip)
	override(given, "dns-address", &config.Advertise.DNS, flags.Advertise.DNS)
	override(given, "siblings", &config.Advertise.Siblings, flags.Advertise.Siblings)
	override(given, "data-dir", &config.DataDir, flags.DataDir)
	override(given, "services", &config.Services, flags.Services)
	override(given, "zone-name", &config.Zone, flags.Zone)
	override(given, "dns", &config.Listen.DNS, flags.Listen.DNS)
	override(given, "listen-peer", &config.Listen.Peer, flags.Listen.Peer)
	override(given, "listen-gossip", &config.Listen.Gossip, flags.Listen.Gossip)
	override(given, "http", &config.Listen.HTTP, flags.Listen.HTTP)
	override(given, "socket", &config.Listen.Socket, given.Lookup("socket").Value.String())
	override(given, "log-level", &config.Log.Level, flags.Log.Level)
	override(given, "log-format", &config.Log.Format, flags.Log.Format)
	if config.DataDir == "" {
		config.DataDir = flags.DataDir
	}
	config = config.WithDefaults()
	if err := config.Validate(); err != nil {
		return config, usageError{fmt.Errorf("the config is not valid:\n  %s", strings.ReplaceAll(err.Error(), "\n", "\n  "))}
	}
	return config, nil
}

// override sets a field of the config if its flag was given.
func override[T any](given *pflag.FlagSet, flag string, field *T, value T) {
	if given.Changed(flag) {
		*field = value
	}
}

func (a *app) printConfig(config federation.Config) error {
	if a.output == "json" {
		return a.printJSON(config)
	}
	b, err := yaml.Marshal(config)
	if err != nil {
		return err
	}
	_, err = a.out.Write(b)
	return err
}

// logger writes to standard error as the config says, which is valid.
func (a *app) logger(config federation.Log) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(config.Level)) // validated
	options := &slog.HandlerOptions{Level: level}
	if config.Format == "json" {
		return slog.New(slog.NewJSONHandler(a.err, options))
	}
	return slog.New(slog.NewTextHandler(a.err, options))
}
