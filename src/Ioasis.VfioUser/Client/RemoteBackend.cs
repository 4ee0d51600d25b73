using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.VfioUser;

/// <summary>A function in another process as VFIO's callers see it. Each call is a message; if the server is gone, accesses fail with EIO.</summary>
internal sealed class RemoteBackend : IVfioDeviceBackend, IDisposable
{
    /// <summary>Offset of the first base address register in configuration space.</summary>
    public const int FirstBar = 0x10;

    private const int Command = 4;
    private const ushort CommandIoAndMemory = 3;
    private const ushort CommandMaster = 4;

    private readonly RemoteConnection _connection;
    private readonly RemoteInterrupts _interrupts = new();
    private readonly DeviceRegion[] _regions;
    private readonly DeviceInterrupt[] _kinds;
    private uint[] _bars = new uint[6];
    private int _command;

    /// <summary>Asks the server what its function is.</summary>
    /// <exception cref="IOException">It is no PCI function, or the server does not say.</exception>
    public RemoteBackend(RemoteConnection connection, string path)
    {
        _connection = connection;
        VfioDeviceInfo info = new() { Argsz = 16 };
        Span<byte> answer = stackalloc byte[16];
        Errno error = connection.Call(VfioUserCommand.DeviceGetInfo, MemoryMarshal.AsBytes(new ReadOnlySpan<VfioDeviceInfo>(in info))[..16], [], answer);
        answer.CopyTo(MemoryMarshal.AsBytes(new Span<VfioDeviceInfo>(ref info)));
        if (error != Errno.Success || (info.Flags & VfioDeviceFlags.Pci) == 0 || info.NumRegions <= (uint)VfioPciRegion.Config || info.NumIrqs is < 3 or > 64)
        {
            throw new IOException($"{path}: the server does not describe a PCI function: {error}, flags {info.Flags}, {info.NumRegions} regions, {info.NumIrqs} interrupts");
        }

        Flags = info.Flags;
        _regions = new DeviceRegion[(int)VfioPciRegion.Count];
        for (int i = 0; i <= (int)VfioPciRegion.Config; i++)
        {
            _regions[i] = AskRegion(i);
        }

        _kinds = new DeviceInterrupt[Math.Min((int)info.NumIrqs, (int)VfioPciInterrupt.Count)];
        for (int i = 0; i < _kinds.Length; i++)
        {
            _kinds[i] = AskInterrupt(i);
        }
    }

    /// <inheritdoc/>
    public VfioDeviceFlags Flags { get; }

    /// <inheritdoc/>
    public int RegionCount => _regions.Length;

    /// <inheritdoc/>
    public int InterruptCount => _kinds.Length;

    /// <inheritdoc/>
    public IReadOnlyList<VfioResetMember>? ResetMembers => null;

    /// <inheritdoc/>
    public bool IsMemoryEnabled => (Volatile.Read(ref _command) & 2) != 0;

    /// <summary>Whether the client lets it do DMA.</summary>
    public bool IsBusMaster => (Volatile.Read(ref _command) & CommandMaster) != 0;

    /// <summary>What the firmware would write to the base address registers, six words.</summary>
    public void Assign(uint[] bars) => _bars = bars;

    /// <inheritdoc/>
    public Errno Open()
    {
        // As the firmware leaves it: addresses given, spaces on, no bus master.
        Errno error = (Flags & VfioDeviceFlags.Reset) != 0 ? Reset() : Errno.Success;
        Span<byte> word = stackalloc byte[sizeof(uint)];
        for (int i = 0; i < _bars.Length && error == Errno.Success; i++)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(word, _bars[i]);
            error = _regions[i].Size == 0 && _bars[i] == 0 ? Errno.Success : Write((int)VfioPciRegion.Config, FirstBar + (4ul * (uint)i), word, out _);
        }

        return error == Errno.Success ? SetCommand(CommandIoAndMemory) : error;
    }

    /// <inheritdoc/>
    public void Close()
    {
        _ = SetCommand(0);
        foreach (uint kind in _interrupts.TakeKinds())
        {
            VfioIrqSet none = new()
            {
                Argsz = VfioIrqSet.MinimumSize,
                Index = kind,
                Flags = VfioIrqSetFlags.DataNone | VfioIrqSetFlags.ActionTrigger,
            };
            _ = Send(none, []);
        }

        if ((Flags & VfioDeviceFlags.Reset) != 0)
        {
            _ = Reset();
        }
    }

    /// <inheritdoc/>
    public Errno GetRegion(int index, out DeviceRegion region)
    {
        bool isThere = (uint)index < (uint)_regions.Length;
        region = isThere ? _regions[index] : default;
        return isThere ? Errno.Success : Errno.InvalidArgument;
    }

    /// <inheritdoc/>
    public Errno GetInterrupt(int index, out DeviceInterrupt interrupt)
    {
        bool isThere = (uint)index < (uint)_kinds.Length;
        interrupt = isThere ? _kinds[index] : default;
        return isThere ? Errno.Success : Errno.InvalidArgument;
    }

    /// <inheritdoc/>
    public Errno Read(int index, ulong offset, Span<byte> destination, out int count)
    {
        Errno error = CheckAccess(index, offset, destination.Length, out count);
        if (error != Errno.Success)
        {
            return error;
        }

        byte[] reply = new byte[RegionAccessStructure.Bytes + count];
        error = _connection.Call(VfioUserCommand.RegionRead, new RegionAccessStructure(offset, (uint)index, (uint)count), [], reply);
        reply.AsSpan(RegionAccessStructure.Bytes).CopyTo(destination);
        count = error == Errno.Success ? count : 0;
        return error;
    }

    /// <inheritdoc/>
    public Errno Write(int index, ulong offset, ReadOnlySpan<byte> source, out int count)
    {
        Errno error = CheckAccess(index, offset, source.Length, out count);
        if (error != Errno.Success)
        {
            return error;
        }

        Span<byte> reply = stackalloc byte[RegionAccessStructure.Bytes];
        error = _connection.Call(VfioUserCommand.RegionWrite, new RegionAccessStructure(offset, (uint)index, (uint)count), source[..count], reply);
        if (index == (int)VfioPciRegion.Config && offset < Command + 2 && offset + (ulong)count > Command)
        {
            // What it keeps is what counts.
            Span<byte> word = stackalloc byte[sizeof(ushort)];
            Volatile.Write(
                ref _command,
                Read(index, Command, word, out _) == Errno.Success ? BinaryPrimitives.ReadUInt16LittleEndian(word) : 0);
        }

        count = error == Errno.Success ? count : 0;
        return error;
    }

    /// <inheritdoc/>
    public Errno Map(int index, ulong offset, ulong length, out nint address)
    {
        address = 0;
        return Errno.InvalidArgument;
    }

    /// <inheritdoc/>
    public Errno SetInterrupts(in VfioIrqSet set, ReadOnlySpan<byte> data, IVfioEventSource events)
    {
        if ((set.Flags & VfioIrqSetFlags.DataTypeMask) == VfioIrqSetFlags.DataEventFd)
        {
            return SetCounters(set, MemoryMarshal.Cast<byte, int>(data), events);
        }

        Errno error = Send(set with { Argsz = (uint)(VfioIrqSet.MinimumSize + data.Length) }, data);
        if (error == Errno.Success && set.Count == 0)
        {
            _interrupts.RemoveAll(set.Index);
        }

        return error;
    }

    /// <inheritdoc/>
    public Errno Reset() => (Flags & VfioDeviceFlags.Reset) != 0 ? _connection.Call(VfioUserCommand.DeviceReset, [], [], []) : Errno.InvalidArgument;

    /// <inheritdoc/>
    public void ResetWithBus() => _ = Reset();

    /// <inheritdoc/>
    public Errno Feature(VfioFeature feature, VfioFeatureFlags flags, Span<byte> data, IVfioEventSource events) => Errno.NotTypewriter;

    /// <inheritdoc/>
    public Errno SetIoEvent(in VfioIoEvent write, int descriptor, IVfioEventSource events) => Errno.InvalidArgument;

    /// <inheritdoc/>
    public void RequestRelease()
    {
    }

    /// <inheritdoc/>
    public void Dispose() => _interrupts.Dispose();

    private DeviceRegion AskRegion(int index)
    {
        VfioRegionInfo info = new() { Argsz = VfioRegionInfo.MinimumSize, Index = (uint)index };
        Span<byte> answer = stackalloc byte[VfioRegionInfo.MinimumSize];
        if (_connection.Call(VfioUserCommand.DeviceGetRegionInfo, info, [], answer) != Errno.Success)
        {
            return default;
        }

        info = MemoryMarshal.Read<VfioRegionInfo>(answer);

        // Not to be mapped: each access is a message.
        return new(info.Size, info.Flags & (VfioRegionFlags.Read | VfioRegionFlags.Write));
    }

    private DeviceInterrupt AskInterrupt(int index)
    {
        VfioIrqInfo info = new() { Argsz = (uint)Unsafe.SizeOf<VfioIrqInfo>(), Index = (uint)index };
        Span<byte> answer = stackalloc byte[Unsafe.SizeOf<VfioIrqInfo>()];
        if (_connection.Call(VfioUserCommand.DeviceGetIrqInfo, info, [], answer) != Errno.Success)
        {
            return default;
        }

        info = MemoryMarshal.Read<VfioIrqInfo>(answer);
        return new(info.Count, info.Flags);
    }

    private Errno SetCommand(ushort value)
    {
        Span<byte> word = stackalloc byte[sizeof(ushort)];
        BinaryPrimitives.WriteUInt16LittleEndian(word, value);
        return Write((int)VfioPciRegion.Config, Command, word, out _);
    }

    private Errno CheckAccess(int index, ulong offset, int length, out int count)
    {
        count = 0;
        if ((uint)index >= (uint)_regions.Length || offset >= _regions[index].Size)
        {
            return Errno.InvalidArgument;
        }

        count = (int)Math.Min((ulong)Math.Min(length, _connection.MaxTransfer), _regions[index].Size - offset);
        return Errno.Success;
    }

    // As many vectors in a message as it may have descriptors, and vectors with and without counters apart.
    private Errno SetCounters(in VfioIrqSet set, ReadOnlySpan<int> descriptors, IVfioEventSource events)
    {
        Errno error = Errno.Success;
        for (int first = 0; first < descriptors.Length && error == Errno.Success;)
        {
            List<SafeHandle> counters = [];
            int next = first;
            bool has = descriptors[first] >= 0;
            while (next < descriptors.Length && descriptors[next] >= 0 == has && next - first < _connection.MaxDescriptors && error == Errno.Success)
            {
                error = TakeCounter(set.Index, set.Start + (uint)next, descriptors[next], events, counters);
                next++;
            }

            if (error == Errno.Success)
            {
                error = Send(set with { Argsz = VfioIrqSet.MinimumSize, Start = set.Start + (uint)first, Count = (uint)(next - first) }, [], [.. counters]);
            }

            first = next;
        }

        return error;
    }

    private Errno TakeCounter(uint kind, uint vector, int descriptor, IVfioEventSource events, List<SafeHandle> counters)
    {
        if (descriptor < 0)
        {
            _interrupts.Remove(kind, vector);
            return Errno.Success;
        }

        Errno error = events.GetEventErrno(descriptor, out IVfioEvent? counter);
        if (error == Errno.Success)
        {
            counters.Add(_interrupts.Add(kind, vector, counter!));
        }

        return error;
    }

    private Errno Send(in VfioIrqSet set, ReadOnlySpan<byte> data, params ReadOnlySpan<SafeHandle> counters) =>
        _connection.Call(
            VfioUserCommand.DeviceSetIrqs, MemoryMarshal.AsBytes(new ReadOnlySpan<VfioIrqSet>(in set))[..VfioIrqSet.MinimumSize], data, [], counters);
}
