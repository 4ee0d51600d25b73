using Ioasis.Core;
using Ioasis.Devices;
using Ioasis.Embedded;
using Ioasis.Exec;
using Ioasis.Primitives;

// Runs a program, as `ioasis exec` does, on a machine with the topology of the one that was recorded: IOVAs below 2^39 but for x86's
// MSI window, leaves of 4 KiB, 2 MiB and 1 GiB, two edu devices at 0000:00:01.0 and 0000:00:02.0. Says what was left of it.
EmbeddedEndpointOptions endpoint = new()
{
    ReservedRegions = [new(new AddressRange(1ul << 39, (1ul << 47) - 1), ReservedRegionKind.Reserved)],
};
using EduDevice first = new();
using EduDevice second = new();
ExecOptions options = new()
{
    Program = args,
    Devices = [new(DeviceId.FromPci(0, 0, 1, 0), first, endpoint), new(DeviceId.FromPci(0, 0, 2, 0), second, endpoint)],
    Machine = new()
    {
        Iommus =
        [
            new RiscVIommuSlot
            {
                MsiWindow = new AddressRange(0xfee0_0000, 0xfeef_ffff),
                Driver = new() { UseNapot = false, LeafSizes = (1ul << 12) | (1ul << 21) | (1ul << 30) },
            },
        ],
    },
};
if (ExecRunner.Run(options, out ExecResult? result) is { } problem)
{
    Console.Error.WriteLine(problem);
    return 2;
}

Console.Error.WriteLine(result!.Audit.IsEmpty && result.PinnedGibibytes == 0 ? "nothing is left" : $"left: {result.Audit}");
return result.ExitStatus;
