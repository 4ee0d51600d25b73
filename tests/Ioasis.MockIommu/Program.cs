using Ioasis.Exec;
using Ioasis.MockIommu;

// Runs a program, as `ioasis exec` does, on a machine whose /dev/iommu has the mock devices that the kernel's own tests of iommufd
// ask for. Says what was left of it.
MockExtension mock = new();
ExecOptions options = new()
{
    Program = args,
    Machine = new()
    {
        IommufdExtension = mock,
        DriverMemory = memory => mock.Memory = memory,
    },
};
if (ExecRunner.Run(options, out ExecResult? result) is { } problem)
{
    Console.Error.WriteLine(problem);
    return 2;
}

Console.Error.WriteLine(
    result!.Audit.IsEmpty && result.PinnedGibibytes == 0 && mock.DeviceCount == 0
        ? "nothing is left"
        : $"left: {result.Audit}, {mock.DeviceCount} devices");
return result.ExitStatus;
