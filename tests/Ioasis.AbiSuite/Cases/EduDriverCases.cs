using System.Globalization;
using Ioasis.Client;
using Ioasis.Examples;

namespace Ioasis.AbiSuite.Cases;

/// <summary>The example driver of edu, unchanged on every kernel: the client, interrupts that are awaited, DMA both ways.</summary>
internal static class EduDriverCases
{
    public static IEnumerable<AbiCase> All { get; } =
    [
        new("edu-driver-by-container", "S1.11", CaseNeeds.Container | CaseNeeds.Edu, ByContainer),
        new("edu-driver-by-device-node", "S1.11", CaseNeeds.Iommufd | CaseNeeds.DeviceNode | CaseNeeds.Edu, ByDeviceNode),
        new("client-buffers", "S3.5", CaseNeeds.Iommufd | CaseNeeds.DeviceNode, Buffers),
    ];

    private static void ByContainer(CaseContext c)
    {
        string group = Path.GetFileName(c.Target.GroupPath!);
        foreach (bool wired in (bool[])[false, true])
        {
            using CancellationTokenSource limit = new(TimeSpan.FromSeconds(60));
            EduReport report = EduProgram.RunByContainerAsync(
                c.Kernel, int.Parse(group, CultureInfo.InvariantCulture), c.Target.DeviceName!, wired, cancellationToken: limit.Token).GetAwaiter().GetResult();
            c.NoteText(wired ? "wire" : "message", $"{report.Identification:x8} {report.Factorial} {report.BytesEqual}");
        }
    }

    private static void ByDeviceNode(CaseContext c)
    {
        foreach (bool wired in (bool[])[false, true])
        {
            using CancellationTokenSource limit = new(TimeSpan.FromSeconds(60));
            EduReport report = EduProgram.RunByIommuAsync(c.Kernel, c.Target.DevicePath!, wired, cancellationToken: limit.Token).GetAwaiter().GetResult();
            c.NoteText(wired ? "wire" : "message", $"{report.Identification:x8} {report.Factorial} {report.BytesEqual}");
        }
    }

    // The client's own forms of memory.
    private static void Buffers(CaseContext c)
    {
        using IommuFd iommu = IommuFd.Open(c.Kernel);
        using VfioDevice device = VfioDevice.Open(c.Kernel, c.Target.DevicePath!);
        _ = device.Bind(iommu);
        using IoAddressSpace space = iommu.AllocateAddressSpace();
        _ = device.Attach(space);
        using (DmaBuffer buffer = space.AllocateBuffer(5000))
        {
            c.NoteText("buffer", $"{buffer.Length} {buffer.Iova.Value % 4096} {buffer.Span.ContainsAnyExcept((byte)0)}");
            c.NoteText("again-at-its-place", space.AllocateBufferErrno(4096, Primitives.Access.Read, buffer.Iova, out _).ToString());
        }

        byte[] array = new byte[10_000];
        using (DmaMapping mapping = space.Map(array.AsMemory(), Primitives.Access.ReadWrite))
        {
            c.NoteText("memory", $"{mapping.Length} {mapping.Mapped.Start % 4096} {mapping.Mapped.Last % 4096}");
        }

        Primitives.Errno error = space.UnmapErrno(new(0x1000_0000), 4096, out _);
        c.NoteText("nothing-left", $"{error} {space.UnmapAll()}");
    }
}
