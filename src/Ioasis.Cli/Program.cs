using Ioasis.Cli;

// Before anything asks for the switch: only an exploration needs the points at which threads can be switched. Compiled ahead of time they are not there.
if (args is ["campaign", "explore", ..])
{
    AppContext.SetSwitch("Ioasis.Injection", true);
}

return CommandLine.Invoke(args, CliEnvironment.OfThisProcess());
