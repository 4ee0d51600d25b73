using System.Globalization;
using Ioasis.Uapi;
using static Ioasis.AbiSuite.Cases.DeviceSteps;

namespace Ioasis.AbiSuite.Cases;

/// <summary>
/// <c>edu</c> at work: registers, interrupts and real DMA through the IOMMU, with nothing but the ABI. IOVAs stay below 2^28,
/// the device's own limit.
/// </summary>
internal static class EduCases
{
    private const CaseNeeds Needs = CaseNeeds.Container | CaseNeeds.Edu;
    private const ulong Liveness = 0x04;
    private const ulong Factorial = 0x08;
    private const ulong Status = 0x20;
    private const ulong InterruptStatus = 0x24;
    private const ulong RaiseInterrupt = 0x60;
    private const ulong AcknowledgeInterrupt = 0x64;
    private const ulong DmaSource = 0x80;
    private const ulong DmaDestination = 0x88;
    private const ulong DmaCount = 0x90;
    private const ulong DmaCommand = 0x98;
    private const ulong Buffer = 0x40000;

    public static IEnumerable<AbiCase> All { get; } =
    [
        new("edu-registers", "S1.11", Needs, Registers),
        new("edu-interrupts", "S1.11", Needs, Interrupts),
        new("edu-dma", "S3.5", Needs, Dma),
        new("edu-dma-by-device-node", "S3.5", Needs | CaseNeeds.Iommufd | CaseNeeds.DeviceNode, DmaByNode),
    ];

    private static void Registers(CaseContext c)
    {
        (_, int device) = Prepare(c);
        EnableDma(c, device);
        c.NoteText("identification", $"{Read32(c, device, 0, 0):x8}");
        Write32(c, device, 0, Liveness, 0x1234_5678);
        c.NoteText("liveness", $"{Read32(c, device, 0, Liveness):x8}");
        foreach (uint number in (uint[])[0, 1, 5, 12, 13])
        {
            Write32(c, device, 0, Factorial, number);
            WaitWhile(c, device, Status, 1);
            c.NoteText(string.Create(CultureInfo.InvariantCulture, $"factorial-{number}"), $"{Read32(c, device, 0, Factorial)}");
        }
    }

    private static void Interrupts(CaseContext c)
    {
        (_, int device) = Prepare(c);
        EnableDma(c, device);
        int msi = c.Own(c.Kernel.CreateEvent(0, EventFlags.NonBlocking | EventFlags.CloseOnExec));
        _ = c.Note("msi", SetEvents(c, device, 0x24, 1, 0, msi));
        for (uint value = 1; value <= 4; value <<= 1)
        {
            Write32(c, device, 0, RaiseInterrupt, value);
            c.NoteText($"counted-{value}", (WaitFor(c, msi) > 0).ToString());
            c.NoteText($"status-{value}", $"{Read32(c, device, 0, InterruptStatus):x}");
            Write32(c, device, 0, AcknowledgeInterrupt, value);
            c.NoteText($"acknowledged-{value}", $"{Read32(c, device, 0, InterruptStatus):x}");
        }

        // The factorial says when it is done.
        Write32(c, device, 0, Status, 0x80);
        Write32(c, device, 0, Factorial, 6);
        c.NoteText("factorial-interrupt", (WaitFor(c, msi) > 0).ToString());
        c.NoteText("factorial-status", $"{Read32(c, device, 0, InterruptStatus):x}");
        c.NoteText("factorial", $"{Read32(c, device, 0, Factorial)}");
        Write32(c, device, 0, AcknowledgeInterrupt, 1);
        Write32(c, device, 0, Status, 0);
    }

    private static void Dma(CaseContext c)
    {
        (int container, int device) = Prepare(c);
        ClientPages memory = c.Pages(4);
        _ = c.Note("map", ContainerSteps.Map(c, container, memory.Address, 0x10000, 4 * 4096));
        Transfer(c, device, memory, 0x10000);

        // What is unmapped is out of the device's reach: the memory stays what it is.
        ContainerSteps.NoteUnmap(c, "unmap", container, 0x10000, 4 * 4096);
        memory.Span.Fill(0x33);
        FromDevice(c, device, 0x10000, 256);
        c.NoteText("after-unmap", memory.Span.ContainsAnyExcept((byte)0x33) ? "changed" : "untouched");

        // Mapped to read only, it can be read and not written.
        _ = c.Note(
            "map-read-only", ContainerSteps.Map(c, container, memory.Address, 0x20000, 4096, VfioDmaMapFlags.Read));
        memory.Span.Fill(0x44);
        ToDevice(c, device, 0x20000, 256);
        memory.Span.Fill(0x55);
        FromDevice(c, device, 0x20000, 256);
        c.NoteText("read-only", memory.Span.ContainsAnyExcept((byte)0x55) ? "changed" : "untouched");
        _ = c.Note(
            "map-elsewhere", ContainerSteps.Map(c, container, memory.Address + 4096, 0x30000, 4096));
        FromDevice(c, device, 0x30000, 256);
        c.NoteText("read-from-read-only", memory.Span.Slice(4096, 256).ContainsAnyExcept((byte)0x44) ? "lost" : "arrived");
    }

    private static void DmaByNode(CaseContext c)
    {
        (int iommu, uint space) = IommufdSteps.Prepare(c);
        int device = c.Open(c.Target.DevicePath);
        _ = c.Note("bind", IommufdSteps.Bind(c, device, iommu, out _));
        uint target = space;
        _ = c.Note("attach", IommufdSteps.Attach(c, device, ref target));
        ClientPages memory = c.Pages(4);
        _ = c.Note("map", IommufdSteps.MapAt(c, iommu, space, memory.Address, 4 * 4096, 0x10000));
        Transfer(c, device, memory, 0x10000);
        IommufdSteps.NoteUnmap(c, "unmap", iommu, space, 0x10000, 4 * 4096);
        memory.Span.Fill(0x33);
        FromDevice(c, device, 0x10000, 256);
        c.NoteText("after-unmap", memory.Span.ContainsAnyExcept((byte)0x33) ? "changed" : "untouched");
    }

    // Into the device's buffer from one page, and out again to another, with offsets and lengths that cross pages.
    private static void Transfer(CaseContext c, int device, ClientPages memory, ulong iova)
    {
        EnableDma(c, device);
        foreach ((int from, int to, int count) in ((int, int, int)[])[(0, 8192, 4096), (100, 8300, 1), (4000, 12000, 200), (3, 8195, 4093)])
        {
            memory.Span.Clear();
            byte[] sent = new byte[count];
            for (int i = 0; i < count; i++)
            {
                sent[i] = (byte)(((i + from) * 181) + (i >> 8) + 1);
            }

            sent.CopyTo(memory.Span[from..]);
            ToDevice(c, device, iova + (ulong)from, count);
            FromDevice(c, device, iova + (ulong)to, count);
            bool same = memory.Span.Slice(to, count).SequenceEqual(sent);
            bool beyond = memory.Span[(to + count)..].ContainsAnyExcept((byte)0) || memory.Span[(from + count)..to].ContainsAnyExcept((byte)0);
            c.NoteText($"transfer-{from}-{to}-{count}", $"{(same ? "arrived" : "lost")}{(beyond ? ", and elsewhere" : string.Empty)}");
        }
    }

    private static void ToDevice(CaseContext c, int device, ulong iova, int count) => Run(c, device, iova, Buffer, count, 1);

    private static void FromDevice(CaseContext c, int device, ulong iova, int count) => Run(c, device, Buffer, iova, count, 3);

    private static void Run(CaseContext c, int device, ulong source, ulong destination, int count, uint command)
    {
        EnableDma(c, device);
        Write64(c, device, 0, DmaSource, source);
        Write64(c, device, 0, DmaDestination, destination);
        Write64(c, device, 0, DmaCount, (ulong)count);
        Write64(c, device, 0, DmaCommand, command);
        WaitWhile(c, device, DmaCommand, 1);
    }

    private static void WaitWhile(CaseContext c, int device, ulong register, uint bit)
    {
        for (int turn = 0; (Read32(c, device, 0, register) & bit) != 0; turn++)
        {
            if (turn == 10_000)
            {
                c.NoteText($"register-{register:x}", "stays busy");
                return;
            }

            Thread.Sleep(1);
        }
    }
}
