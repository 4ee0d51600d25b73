using Ioasis.Cli;

return CommandLine.Invoke(args, CliEnvironment.OfThisProcess());
