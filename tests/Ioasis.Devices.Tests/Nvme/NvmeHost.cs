using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Ioasis.Devices.Nvme;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Devices.Tests.Nvme;

/// <summary>A command as a driver builds it: opcode, namespace, data pointers, dwords.</summary>
internal sealed record Command(byte Opcode)
{
    public Command(NvmeAdminOpcode opcode)
        : this((byte)opcode)
    {
    }

    public Command(NvmeIoOpcode opcode)
        : this((byte)opcode)
    {
    }

    public uint Namespace { get; init; }

    public byte Flags { get; init; }

    public ushort? Id { get; init; }

    public ulong Metadata { get; init; }

    public ulong Data1 { get; init; }

    public ulong Data2 { get; init; }

    public uint Word10 { get; init; }

    public uint Word11 { get; init; }

    public uint Word12 { get; init; }

    public uint Word13 { get; init; }

    public uint Word14 { get; init; }

    public static Command Identify(byte kind, uint space, ulong data) =>
        new(NvmeAdminOpcode.Identify) { Namespace = space, Word10 = kind, Data1 = data };

    public static Command Blocks(NvmeIoOpcode opcode, ulong first, int count, ulong data = 0, ulong data2 = 0, uint space = 1) => new(opcode)
    {
        Namespace = space,
        Data1 = data,
        Data2 = data2,
        Word10 = (uint)first,
        Word11 = (uint)(first >> 32),
        Word12 = (uint)(count - 1),
    };

    public void WriteTo(Span<byte> entry, ushort id)
    {
        entry[..64].Clear();
        entry[0] = Opcode;
        entry[1] = Flags;
        BinaryPrimitives.WriteUInt16LittleEndian(entry[2..], id);
        BinaryPrimitives.WriteUInt32LittleEndian(entry[4..], Namespace);
        BinaryPrimitives.WriteUInt64LittleEndian(entry[16..], Metadata);
        BinaryPrimitives.WriteUInt64LittleEndian(entry[24..], Data1);
        BinaryPrimitives.WriteUInt64LittleEndian(entry[32..], Data2);
        BinaryPrimitives.WriteUInt32LittleEndian(entry[40..], Word10);
        BinaryPrimitives.WriteUInt32LittleEndian(entry[44..], Word11);
        BinaryPrimitives.WriteUInt32LittleEndian(entry[48..], Word12);
        BinaryPrimitives.WriteUInt32LittleEndian(entry[52..], Word13);
        BinaryPrimitives.WriteUInt32LittleEndian(entry[56..], Word14);
    }
}

/// <summary>A completion as a driver reads it.</summary>
internal readonly record struct Completion(ushort Id, ushort Queue, ushort Head, NvmeStatus Status, ulong Value)
{
    /// <summary>The status without "do not retry".</summary>
    public NvmeStatus Code => Status & ~NvmeStatus.DoNotRetry;

    public bool MustNotRetry => (Status & NvmeStatus.DoNotRetry) != 0;
}

/// <summary>A pair of queues as a driver keeps it.</summary>
internal sealed class QueuePair(NvmeHost host, int id, int entries, ulong submission, ulong completionAt)
{
    private uint _tail;
    private uint _head;
    private bool _phase = true;
    private ushort _nextId;

    public int Id => id;

    public ulong Submission => submission;

    public ulong CompletionAt => completionAt;

    public uint Tail => _tail;

    public uint Head => _head;

    /// <summary>Puts a command in, without the doorbell.</summary>
    public ushort Put(Command command)
    {
        ushort number = command.Id ?? _nextId++;
        command.WriteTo(host.Memory[submission + (_tail * 64), 64], number);
        _tail = (_tail + 1) % (uint)entries;
        return number;
    }

    public void Ring() => host.Write32(NvmeRegisters.Doorbells + (8 * (uint)id), _tail);

    /// <summary>Rings a controller that may be closed meanwhile.</summary>
    public void TryRing() => _ = host.TryWrite32(NvmeRegisters.Doorbells + (8 * (uint)id), _tail);

    public ushort Submit(Command command)
    {
        ushort number = Put(command);
        Ring();
        return number;
    }

    /// <summary>Takes what is completed.</summary>
    public List<Completion> Take(int most = int.MaxValue, bool rings = true)
    {
        List<Completion> all = [];
        while (all.Count < most)
        {
            ReadOnlySpan<byte> entry = host.Memory[completionAt + (_head * 16), 16];
            ushort status = BinaryPrimitives.ReadUInt16LittleEndian(entry[14..]);
            if ((status & 1) != (_phase ? 1 : 0))
            {
                break;
            }

            all.Add(new(
                BinaryPrimitives.ReadUInt16LittleEndian(entry[12..]),
                BinaryPrimitives.ReadUInt16LittleEndian(entry[10..]),
                BinaryPrimitives.ReadUInt16LittleEndian(entry[8..]),
                (NvmeStatus)(status >> 1),
                BinaryPrimitives.ReadUInt64LittleEndian(entry)));
            if (++_head == entries)
            {
                _head = 0;
                _phase = !_phase;
            }
        }

        if (all.Count > 0 && rings)
        {
            RingHead();
        }

        return all;
    }

    public void RingHead() => host.Write32(NvmeRegisters.Doorbells + (8 * (uint)id) + 4, _head);

    /// <summary>A command that completes in the doorbell's turn, alone.</summary>
    public Completion Execute(Command command)
    {
        ushort number = Submit(command);
        Completion completion = Take().ShouldHaveSingleItem();
        completion.Id.ShouldBe(number);
        completion.Queue.ShouldBe((ushort)id);
        return completion;
    }

    public Completion Succeed(Command command)
    {
        Completion completion = Execute(command);
        completion.Status.ShouldBe(NvmeStatus.Success, command.ToString());
        return completion;
    }

    public void Refuse(NvmeStatus status, Command command) => Execute(command).Code.ShouldBe(status, command.ToString());
}

/// <summary>
/// A host with a controller and a small driver for it: registers through the VFIO seam, memory that it owns, nothing between.
/// </summary>
internal sealed class NvmeHost : DeviceHost
{
    public NvmeHost(NvmeOptions? options = null, bool connects = true, int memory = 8 << 20)
        : this(new NvmeController(options ?? new() { Namespaces = [new() { Size = 1 << 20 }] }), connects, memory)
    {
    }

    public NvmeHost(NvmeController controller, bool connects = true, int memory = 8 << 20, IDmaPort? port = null, EndpointAts? ats = null)
        : base(controller, new(memory))
    {
        Controller = controller;
        if (connects)
        {
            Controller.Assign(new ulong[Controller.Description.Bars.Count]);
            Controller.Connect(new(DeviceId.FromPci(0, 0, 1, 0), port ?? Memory) { Ats = ats });
            Open();
        }
    }

    public NvmeController Controller { get; }

    public QueuePair Admin { get; private set; } = null!;

    public uint Status => Read32(NvmeRegisters.Status);

    public static NvmeHost Ready(NvmeOptions? options = null, int memory = 8 << 20)
    {
        NvmeHost host = new(options, memory: memory);
        host.Enable();
        return host;
    }

    public void Open()
    {
        Backend.Open().ShouldBe(Errno.Success);
        SetCommand(6);
    }

    public uint Read32(uint offset)
    {
        Span<byte> bytes = stackalloc byte[4];
        Backend.Read(0, offset, bytes, out int count).ShouldBe(Errno.Success);
        count.ShouldBe(4);
        return BinaryPrimitives.ReadUInt32LittleEndian(bytes);
    }

    public ulong Read64(uint offset)
    {
        Span<byte> bytes = stackalloc byte[8];
        Backend.Read(0, offset, bytes, out _).ShouldBe(Errno.Success);
        return BinaryPrimitives.ReadUInt64LittleEndian(bytes);
    }

    public void Write32(uint offset, uint value) => TryWrite32(offset, value).ShouldBe(Errno.Success);

    public Errno TryWrite32(uint offset, uint value)
    {
        Span<byte> bytes = stackalloc byte[4];
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, value);
        return Backend.Write(0, offset, bytes, out _);
    }

    public void Write64(uint offset, ulong value)
    {
        Span<byte> bytes = stackalloc byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, value);
        Backend.Write(0, offset, bytes, out _).ShouldBe(Errno.Success);
    }

    /// <summary>Enables the controller with an admin queue; page size 4 KiB, entries of 64 and 16 bytes.</summary>
    public void Enable(int entries = 32, uint configuration = 0x46_0001)
    {
        ulong submission = Memory.Allocate(entries * 64);
        ulong completion = Memory.Allocate(entries * 16);
        Memory[completion, entries * 16].Clear();
        Admin = new(this, 0, entries, submission, completion);
        Write32(NvmeRegisters.AdminQueueAttributes, (uint)(entries - 1) * 0x1_0001);
        Write64(NvmeRegisters.AdminSubmissionQueue, submission);
        Write64(NvmeRegisters.AdminCompletionQueue, completion);
        Write32(NvmeRegisters.Configuration, configuration);
        Status.ShouldBe(NvmeRegisters.Ready);
    }

    public QueuePair CreateQueue(int id = 1, int entries = 64, int vector = 0, int? completion = null)
    {
        ulong submissionAt = Memory.Allocate(entries * 64);
        ulong completionAt = Memory.Allocate(entries * 16);
        Memory[completionAt, entries * 16].Clear();
        if (completion is null)
        {
            _ = Admin.Succeed(CreateCompletion(id, entries, completionAt, vector));
        }

        _ = Admin.Succeed(CreateSubmission(id, entries, submissionAt, completion ?? id));
        return new(this, id, entries, submissionAt, completionAt);
    }

    public static Command CreateCompletion(int id, int entries, ulong address, int vector = 0) => new(NvmeAdminOpcode.CreateCompletionQueue)
    {
        Data1 = address,
        Word10 = (uint)id | ((uint)(entries - 1) << 16),
        Word11 = 3 | ((uint)vector << 16),
    };

    public static Command CreateSubmission(int id, int entries, ulong address, int completion) => new(NvmeAdminOpcode.CreateSubmissionQueue)
    {
        Data1 = address,
        Word10 = (uint)id | ((uint)(entries - 1) << 16),
        Word11 = 1 | ((uint)completion << 16),
    };
}
