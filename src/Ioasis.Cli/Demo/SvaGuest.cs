using Ioasis.Core;
using Ioasis.Devices;
using Ioasis.Embedded;
using Ioasis.Primitives;

namespace Ioasis.Cli.Demo;

/// <summary>A virtual machine: a set of PASIDs with a quota, and the table by which its ENQCMD is translated.</summary>
internal sealed class SvaGuest : IDisposable
{
    public SvaGuest(string name, PasidAllocator allocator, uint quota)
    {
        Name = name;
        Errno error = allocator.TryCreateSet(new() { Quota = quota, Token = this }, out PasidSet? set);
        if (error != Errno.Success)
        {
            throw new InvalidOperationException($"The set of {name} cannot be made: {error}.");
        }

        Set = set!;
        Manager = new(Set);
        Table = new(guest => LastExit = guest);
    }

    public string Name { get; }

    public PasidSet Set { get; }

    public SvaManager Manager { get; }

    public VmPasidTable Table { get; }

    /// <summary>The guest PASID of the last exit, until the monitor has looked at it.</summary>
    public GuestPasid? LastExit { get; set; }

    public void Dispose() => Table.Dispose();
}

/// <summary>A process of a guest that gives the accelerator one job after the other, and knows what its memory must hold.</summary>
internal sealed class SvaWorker
{
    /// <summary>Where its memory starts.</summary>
    public const ulong Base = 0x1_0000_0000;

    /// <summary>Pages that jobs work on; one more is for completion records.</summary>
    public const int Pages = 24;

    private const int PageSize = 4096;
    private const ulong Record = Base + (Pages * (ulong)PageSize);
    private const AcceleratorFlags Flags =
        AcceleratorFlags.BlockOnFault | AcceleratorFlags.CompletionAddressValid | AcceleratorFlags.RequestCompletion;

    private readonly byte[] _expected = new byte[Pages * PageSize];
    private readonly Random _random;
    private AcceleratorDescriptor _job;

    public SvaWorker(SvaGuest guest, string name, GuestPasid pasid, DemandPagedAddressSpace memory, int seed)
    {
        Guest = guest;
        Pasid = pasid;
        Process = new(name, memory);
        _random = new(seed);
        _ = memory.Map(Base, (Pages + 1) * (ulong)PageSize, Access.ReadWrite);
    }

    public SvaGuest Guest { get; }

    public GuestPasid Pasid { get; }

    public UserProcess Process { get; }

    public SvaBinding? Binding { get; set; }

    /// <summary>Whether a job is with the device.</summary>
    public bool IsBusy { get; private set; }

    /// <summary>The monitor has refused to authorise it.</summary>
    public bool IsRefused { get; set; }

    public bool IsDead { get; set; }

    public int JobsDone { get; private set; }

    public long BytesDone { get; private set; }

    public DemandPagedAddressSpace Memory => Process.AddressSpace;

    /// <summary>Makes up a job and gives it to the device.</summary>
    public DeferrableWriteResult Submit(Accelerator accelerator)
    {
        if (_job.Operation == AcceleratorOperation.None)
        {
            _job = MakeUp();
            _ = Memory.Write(Record, new byte[AcceleratorCompletion.Size]);
        }

        Span<byte> command = stackalloc byte[AcceleratorDescriptor.Size];
        _job.WriteTo(command);
        DeferrableWriteResult result = DeferrableWrite.ExecuteInGuest(Guest.Table, Pasid, accelerator, command);
        IsBusy = result == DeferrableWriteResult.Accepted;
        return result;
    }

    /// <summary>Looks at the completion record; null while there is none, otherwise what is wrong, or nothing.</summary>
    public string? Poll()
    {
        Span<byte> bytes = stackalloc byte[AcceleratorCompletion.Size];
        if (Memory.Read(Record, bytes) != Errno.Success)
        {
            return "the completion record cannot be read";
        }

        AcceleratorCompletion completion = AcceleratorCompletion.Read(bytes);
        if (completion.Status == AcceleratorStatus.None)
        {
            return null;
        }

        IsBusy = false;
        JobsDone++;
        BytesDone += completion.Completed;
        string wrong = Judge(completion);
        _job = default;
        return wrong;
    }

    /// <summary>Gives pages back and takes new ones at the same addresses; their content is zero.</summary>
    public Errno Renew(int page, int count)
    {
        ulong at = Base + ((ulong)page * PageSize);
        Errno error = Memory.Unmap(at, (ulong)count * PageSize);
        _expected.AsSpan(page * PageSize, count * PageSize).Clear();
        return error == Errno.Success ? Memory.Map(at, (ulong)count * PageSize, Access.ReadWrite) : error;
    }

    /// <summary>Whether all its memory holds what it must.</summary>
    public bool IsIntact()
    {
        byte[] seen = new byte[_expected.Length];
        return Memory.Read(Base, seen) == Errno.Success && seen.AsSpan().SequenceEqual(_expected);
    }

    private AcceleratorDescriptor MakeUp()
    {
        int half = _expected.Length / 2;
        int length = _random.Next(1, 3 * PageSize);
        int from = _random.Next(half - length);
        int to = half + _random.Next(half - length);
        AcceleratorOperation operation = _random.Next(6) switch
        {
            0 => AcceleratorOperation.Fill,
            1 => AcceleratorOperation.Compare,
            2 => AcceleratorOperation.Crc32C,
            _ => AcceleratorOperation.Copy,
        };
        if (operation == AcceleratorOperation.Copy && _random.Next(2) == 0)
        {
            (from, to) = (to, from);
        }

        ulong source = operation == AcceleratorOperation.Fill ? (ulong)_random.NextInt64() : Base + (ulong)from;
        if (operation == AcceleratorOperation.Copy)
        {
            // The processor writes what the device shall copy.
            byte[] data = new byte[length];
            _random.NextBytes(data);
            data.CopyTo(_expected, from);
            _ = Memory.Write(Base + (ulong)from, data);
        }

        return new(operation, Flags, Record, source, Base + (ulong)to, (uint)length, uint.MaxValue);
    }

    private string Judge(in AcceleratorCompletion completion)
    {
        if (completion.Status != AcceleratorStatus.Success)
        {
            return $"{_job.Operation} ended with {completion.Status} at 0x{completion.FaultAddress:x}";
        }

        int to = (int)(_job.Destination - Base);
        int length = (int)_job.Length;
        Span<byte> target = _expected.AsSpan(to, length);
        ReadOnlySpan<byte> source = _job.Operation == AcceleratorOperation.Fill ? default : _expected.AsSpan((int)(_job.Source - Base), length);
        switch (_job.Operation)
        {
            case AcceleratorOperation.Copy:
                source.CopyTo(target);
                break;
            case AcceleratorOperation.Fill:
                for (int i = 0; i < length; i++)
                {
                    target[i] = (byte)(_job.Source >> (i % 8 * 8));
                }

                break;
            case AcceleratorOperation.Compare:
                int same = source.CommonPrefixLength(target);
                return completion.Result == (same < length ? 1 : 0) && (same == length || completion.Completed == same)
                    ? string.Empty
                    : $"Compare found {completion.Completed}, not {same}";
            default:
                uint crc = uint.MaxValue;
                foreach (byte value in source)
                {
                    crc = System.Numerics.BitOperations.Crc32C(crc, value);
                }

                return crc == completion.Crc ? string.Empty : "the CRC is wrong";
        }

        byte[] seen = new byte[length];
        return Memory.Read(_job.Destination, seen) == Errno.Success && target.SequenceEqual(seen)
            ? string.Empty
            : $"{_job.Operation} left other bytes than it should";
    }
}
