using System.Buffers.Binary;
using System.Globalization;
using System.Runtime.InteropServices;
using Ioasis.Uapi;
using static Ioasis.AbiSuite.Cases.ContainerMapCases;
using static Ioasis.AbiSuite.Cases.DeviceSteps;

namespace Ioasis.AbiSuite.Cases;

/// <summary>Registers that are written when a counter is (<c>VFIO_DEVICE_IOEVENTFD</c>), on <c>edu</c>'s.</summary>
internal static class DeviceIoEventCases
{
    private const CaseNeeds Needs = CaseNeeds.Container | CaseNeeds.Edu;
    private const ulong Liveness = 0x04;
    private const ulong DmaSource = 0x80;

    public static IEnumerable<AbiCase> All { get; } =
    [
        new("device-ioeventfd-arguments", "S1.11", Needs, Arguments),
        new("device-ioeventfd-places", "S1.11", Needs, Places),
        new("device-ioeventfd-duplicates", "S1.11", Needs, Duplicates),
        new("device-ioeventfd-limit", "S1.11", Needs, Limit),
        new("device-ioeventfd-writes", "S1.11", Needs, Writes),
        new("device-ioeventfd-ends", "S1.15", Needs, Ends),
    ];

    private static int Set(
        CaseContext c, int device, uint flags, ulong offset, ulong data, int counter, uint argsz = 32, int length = 32)
    {
        byte[] argument = new byte[32];
        MemoryMarshal.Write(argument, argsz);
        MemoryMarshal.Write(argument.AsSpan(4), flags);
        MemoryMarshal.Write(argument.AsSpan(8), offset);
        MemoryMarshal.Write(argument.AsSpan(16), data);
        MemoryMarshal.Write(argument.AsSpan(24), counter);
        return c.Kernel.Ioctl(device, VfioRequests.DeviceIoEventFd, argument.AsSpan(0, length));
    }

    private static int NewCounter(CaseContext c, uint value = 0) =>
        c.Own(c.Kernel.CreateEvent(value, EventFlags.NonBlocking | EventFlags.CloseOnExec));

    private static void Add(CaseContext c, int counter, ulong value = 1)
    {
        byte[] bytes = new byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, value);
        if (c.Kernel.Write(counter, bytes) != 8)
        {
            c.NoteText("counter", "cannot be written");
        }
    }

    private static void NoteLiveness(CaseContext c, int device, string label) =>
        c.NoteText(label, $"{Read32(c, device, 0, Liveness):x8}");

    // What was set is taken away again, which is noted too.
    private static void NoteBoth(CaseContext c, int device, string label, uint flags, ulong offset, int counter)
    {
        if (c.Note(label, Set(c, device, flags, offset, 1, counter)) == 0)
        {
            _ = c.Note("  remove", Set(c, device, flags, offset, 1, -1));
        }
    }

    private static void Arguments(CaseContext c)
    {
        (_, int device) = Prepare(c);
        int counter = NewCounter(c);
        foreach (uint argsz in (uint[])[0, 16, 24, 27, 28, 31, 32, 40])
        {
            _ = c.Note(Label("argsz", argsz), Set(c, device, 4, Liveness, 1, -1, argsz));
        }

        _ = c.Note("length-24", Set(c, device, 4, Liveness, 1, -1, 32, 24));
        _ = c.Note("length-28", Set(c, device, 4, Liveness, 1, -1, 32, 28));
        foreach (uint flags in (uint[])[0, 1, 2, 3, 4, 5, 6, 8, 9, 0xc, 0xf, 0x10, 0x14, 0x8000_0004])
        {
            NoteBoth(c, device, Label("flags", flags), flags, DmaSource, counter);
        }

        foreach (int descriptor in (int[])[-1, -2, int.MinValue, 9999, device])
        {
            string name = descriptor == device ? "the-device" : descriptor.ToString(CultureInfo.InvariantCulture);
            _ = c.Note($"descriptor-{name}", Set(c, device, 4, Liveness, 1, descriptor));
        }
    }

    private static void Places(CaseContext c)
    {
        (_, int device) = Prepare(c);
        int counter = NewCounter(c);
        foreach (int region in (int[])[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 100])
        {
            NoteBoth(c, device, Label("region", (ulong)region), 4, OffsetOf(region), counter);
        }

        foreach ((ulong at, uint size) in ((ulong, uint)[])
            [(0, 8), (0xffffc, 4), (0xffffd, 4), (0xffffe, 2), (0xfffff, 1), (0xfffff, 2), (0x100000, 1), (0xffff8, 8), (0xffff9, 8),
             (1, 1), (1, 2), (2, 4), (4, 8), (0xff_ffff_fffc, 4), (0xff_ffff_ffff, 8)])
        {
            NoteBoth(c, device, string.Create(CultureInfo.InvariantCulture, $"at-{at:x}-{size}"), size, at, counter);
        }

        NoteBoth(c, device, "at-the-end-of-everything", 4, ulong.MaxValue - 3, counter);
    }

    private static void Duplicates(CaseContext c)
    {
        (_, int device) = Prepare(c);
        int counter = NewCounter(c);
        int other = NewCounter(c);
        _ = c.Note("first", Set(c, device, 4, Liveness, 1, counter));
        _ = c.Note("again", Set(c, device, 4, Liveness, 1, counter));
        _ = c.Note("another-counter", Set(c, device, 4, Liveness, 1, other));
        _ = c.Note("again-no-counter", Set(c, device, 4, Liveness, 1, 9999));
        _ = c.Note("other-data", Set(c, device, 4, Liveness, 2, counter));
        _ = c.Note("other-data-beyond-the-size", Set(c, device, 4, Liveness, 0x1_0000_0001, counter));
        _ = c.Note("other-size", Set(c, device, 2, Liveness, 1, counter));
        _ = c.Note("other-place", Set(c, device, 4, Liveness + 4, 1, counter));
        _ = c.Note("remove-other", Set(c, device, 4, Liveness, 3, -1));
        _ = c.Note("remove", Set(c, device, 4, Liveness, 1, -1));
        _ = c.Note("remove-again", Set(c, device, 4, Liveness, 1, -1));
        _ = c.Note("first-again", Set(c, device, 4, Liveness, 1, other));

        // The counter goes, the entry stays.
        _ = c.Close(other);
        _ = c.Note("after-close", Set(c, device, 4, Liveness, 1, counter));
        _ = c.Note("remove-after-close", Set(c, device, 4, Liveness, 1, -1));
        _ = c.Note("after-remove", Set(c, device, 4, Liveness, 1, counter));
    }

    private static void Limit(CaseContext c)
    {
        (_, int device) = Prepare(c);
        int counter = NewCounter(c);
        int count = 0;
        int result;
        while ((result = Set(c, device, 4, Liveness, (ulong)count, counter)) == 0 && count < 5000)
        {
            count++;
        }

        _ = c.Note("beyond-the-limit", result, (ulong)count);
        c.NoteText("how-many", count.ToString(CultureInfo.InvariantCulture));
        _ = c.Note("known-at-the-limit", Set(c, device, 4, Liveness, 0, counter));
        _ = c.Note("no-counter-at-the-limit", Set(c, device, 4, Liveness, 5001, 9999));
        _ = c.Note("remove", Set(c, device, 4, Liveness, 7, -1));
        _ = c.Note("in-its-place", Set(c, device, 4, Liveness, 5001, counter));
        _ = c.Note("and-one-more", Set(c, device, 4, Liveness, 5002, counter));
    }

    private static void Writes(CaseContext c)
    {
        (_, int device) = Prepare(c);
        EnableDma(c, device);
        int counter = NewCounter(c);
        _ = c.Note("set", Set(c, device, 4, Liveness, 0xffff_ffff_1234_5678, counter));
        Write32(c, device, 0, Liveness, 0);
        NoteLiveness(c, device, "before");
        Add(c, counter, 5);
        NoteLiveness(c, device, "after");
        _ = c.Note("counter-is-taken", c.Kernel.Poll(counter, PollEvents.In, 0, out _));
        Write32(c, device, 0, Liveness, 0);
        Add(c, counter);
        NoteLiveness(c, device, "once-more");

        // Registers of 8 bytes; narrow accesses mean nothing to this one.
        int wide = NewCounter(c);
        if (c.Note("set-wide", Set(c, device, 8, DmaSource, 0x1122_3344_5566_7788, wide)) == 0)
        {
            Add(c, wide);
            byte[] value = new byte[8];
            _ = c.Kernel.Read(device, value, OffsetOf(0) + DmaSource);
            c.NoteText("wide", $"{BinaryPrimitives.ReadUInt64LittleEndian(value):x16}");
        }

        // What was counted before counts.
        int early = NewCounter(c, 3);
        Write32(c, device, 0, Liveness, 0);
        _ = c.Note("set-with-a-count", Set(c, device, 4, Liveness, 0x0bad_cafe, early));
        NoteLiveness(c, device, "at-once");

        // One counter, two registers.
        int both = NewCounter(c);
        _ = c.Note("set-both-1", Set(c, device, 4, Liveness, 0x1111_0000, both));
        _ = c.Note("set-both-2", Set(c, device, 8, DmaSource, 0x2222, both));
        Add(c, both);
        NoteLiveness(c, device, "both-1");
        c.NoteText("both-2", $"{Read32(c, device, 0, DmaSource):x8}");

        // While memory space is off nothing is written, and nothing later.
        Write32(c, device, 0, Liveness, 0);
        _ = c.Kernel.Write(device, [0, 0], OffsetOf(ConfigRegion) + 4);
        _ = c.Note("set-while-off", Set(c, device, 4, Liveness, 0x77, counter));
        Add(c, counter);
        _ = c.Note("taken-while-off", c.Kernel.Poll(counter, PollEvents.In, 0, out _));
        EnableDma(c, device);
        NoteLiveness(c, device, "after-off");
    }

    private static void Ends(CaseContext c)
    {
        (_, int device) = Prepare(c);
        EnableDma(c, device);
        int counter = NewCounter(c);
        _ = c.Note("set", Set(c, device, 4, Liveness, 0x1234_5678, counter));
        _ = c.Note("remove", Set(c, device, 4, Liveness, 0x1234_5678, -1));
        Write32(c, device, 0, Liveness, 0);
        Add(c, counter);
        NoteLiveness(c, device, "removed");
        _ = c.Note("counter-stays", c.Kernel.Poll(counter, PollEvents.In, 0, out _));
        _ = c.Kernel.Read(counter, new byte[8]);

        _ = c.Note("set-again", Set(c, device, 4, Liveness, 0x1234_5678, counter));
        _ = c.Note("reset", c.Kernel.Ioctl(device, VfioRequests.DeviceReset, 0));
        EnableDma(c, device);
        Write32(c, device, 0, Liveness, 0);
        Add(c, counter);
        NoteLiveness(c, device, "after-reset");

        // Another descriptor of the counter keeps it.
        int copy = c.Own(c.Kernel.Dup(counter));
        _ = c.Close(counter);
        Write32(c, device, 0, Liveness, 0);
        Add(c, copy);
        NoteLiveness(c, device, "by-a-copy");
        _ = c.Close(device);
        Add(c, copy);
        _ = c.Note("after-the-device", c.Kernel.Poll(copy, PollEvents.In, 0, out _));
    }
}
