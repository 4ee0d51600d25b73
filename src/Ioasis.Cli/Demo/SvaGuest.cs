using Ioasis.Core;
using Ioasis.Devices;
using Ioasis.Devices.Dsa;
using Ioasis.Embedded;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Processes;

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
    private const DsaFlags Flags =
        DsaFlags.BlockOnFault | DsaFlags.CompletionAddressValid | DsaFlags.RequestCompletion;

    private readonly byte[] _expected = new byte[Pages * PageSize];
    private readonly Random _random;
    private DsaDescriptor _job;

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
    public DeferrableWriteResult Submit(ISharedWorkQueue portal)
    {
        if (_job.Operation == DsaOperation.None)
        {
            _job = MakeUp();
            _ = Memory.Write(Record, new byte[DsaCompletion.Size]);
        }

        Span<byte> command = stackalloc byte[DsaDescriptor.Size];
        _job.WriteTo(command);
        DeferrableWriteResult result = DeferrableWrite.ExecuteInGuest(Guest.Table, Pasid, portal, command);
        IsBusy = result == DeferrableWriteResult.Accepted;
        return result;
    }

    /// <summary>Looks at the completion record; null while there is none, otherwise what is wrong, or nothing.</summary>
    public string? Poll()
    {
        Span<byte> bytes = stackalloc byte[DsaCompletion.Size];
        if (Memory.Read(Record, bytes) != Errno.Success)
        {
            return "the completion record cannot be read";
        }

        DsaCompletion completion = DsaCompletion.Read(bytes);
        if (completion.Status == DsaStatus.None)
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

    private DsaDescriptor MakeUp()
    {
        int half = _expected.Length / 2;
        int length = _random.Next(1, 3 * PageSize);
        int from = _random.Next(half - length);
        int to = half + _random.Next(half - length);
        DsaOperation operation = _random.Next(6) switch
        {
            0 => DsaOperation.Fill,
            1 => DsaOperation.Compare,
            2 => DsaOperation.Crc,
            _ => DsaOperation.Move,
        };
        if (operation == DsaOperation.Move && _random.Next(2) == 0)
        {
            (from, to) = (to, from);
        }

        ulong source = operation == DsaOperation.Fill ? (ulong)_random.NextInt64() : Base + (ulong)from;
        if (operation == DsaOperation.Move)
        {
            // The processor writes what the device shall copy.
            byte[] data = new byte[length];
            _random.NextBytes(data);
            data.CopyTo(_expected, from);
            _ = Memory.Write(Base + (ulong)from, data);
        }

        return new(operation, Flags, Record, source, operation == DsaOperation.Crc ? 0 : Base + (ulong)to, (uint)length);
    }

    private string Judge(in DsaCompletion completion)
    {
        if (completion.Status != DsaStatus.Success)
        {
            return $"{_job.Operation} ended with {completion.Status} at 0x{completion.FaultAddress:x}";
        }

        int to = _job.Operation == DsaOperation.Crc ? 0 : (int)(_job.Destination - Base);
        int length = (int)_job.Length;
        Span<byte> target = _expected.AsSpan(to, length);
        ReadOnlySpan<byte> source = _job.Operation == DsaOperation.Fill ? default : _expected.AsSpan((int)(_job.Source - Base), length);
        switch (_job.Operation)
        {
            case DsaOperation.Move:
                source.CopyTo(target);
                break;
            case DsaOperation.Fill:
                for (int i = 0; i < length; i++)
                {
                    target[i] = (byte)(_job.Source >> (i % 8 * 8));
                }

                break;
            case DsaOperation.Compare:
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

                return ~crc == completion.Value ? string.Empty : "the CRC is wrong";
        }

        byte[] seen = new byte[length];
        return Memory.Read(_job.Destination, seen) == Errno.Success && target.SequenceEqual(seen)
            ? string.Empty
            : $"{_job.Operation} left other bytes than it should";
    }
}
