using Ioasis.AbiSuite;
using Ioasis.AbiSuite.Guest;
using Ioasis.Linux;

// Runs the suite on the kernel of the machine: `Ioasis.AbiSuite.Guest DEVICE [SECOND-DEVICE] [--output FILE] [--only PART] [--vtd]`.
// The devices, such as 0000:00:04.0, are bound to vfio-pci already; --vtd runs the conversations about VT-d instead. Records go to the file or to standard output; the exit
// status is 0 when every case that the machine allows has run, whatever it noted: who compares is not this program.
string? output = null;
string only = string.Empty;
IReadOnlyList<AbiCase> cases = SuiteRunner.Cases;
List<string> devices = [];
for (int i = 0; i < args.Length; i++)
{
    switch (args[i])
    {
        case "--output":
            output = args[++i];
            break;
        case "--only":
            only = args[++i];
            break;
        case "--vtd":
            cases = SuiteRunner.VtdCases;
            break;
        default:
            devices.Add(args[i]);
            break;
    }
}

SuiteTarget target = MachineTarget.Find(LinuxKernelAbi.Instance, devices);
using FileStream? file = output is null ? null : File.Open(output, FileMode.Open, FileAccess.Write);
using StreamWriter writer = new(file ?? Console.OpenStandardOutput());
await writer.WriteLineAsync($"target: {target.Offers}");
int ran = 0;
foreach (AbiCase @case in cases)
{
    if (SuiteRunner.CanRun(@case, target) && @case.Name.Contains(only, StringComparison.Ordinal))
    {
        await writer.WriteAsync(SuiteRunner.Run(@case, target).Format());
        await writer.FlushAsync();
        ran++;
    }
}

await writer.WriteLineAsync($"ran {ran} of {cases.Count} cases");
return 0;
