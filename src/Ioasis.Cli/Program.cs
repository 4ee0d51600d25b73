using System.CommandLine;
using Ioasis.Cli.Commands;

RootCommand root = new("Ioasis: an operating system's I/O address space (IOMMU) subsystem, in user space.");
root.Subcommands.Add(ConformCommand.Create());
return root.Parse(args).Invoke();
