using System.CommandLine;

RootCommand root = new("Ioasis: an operating system's I/O address space (IOMMU) subsystem, in user space.");
return root.Parse(args).Invoke();
