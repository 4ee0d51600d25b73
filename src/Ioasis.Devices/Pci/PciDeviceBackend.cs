using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Uapi;
using Microsoft.Win32.SafeHandles;

namespace Ioasis.Devices;

/// <summary>A PCI device as VFIO sees it: regions by vfio-pci's numbers, accesses split as a processor's would be.</summary>
internal sealed class PciDeviceBackend : IVfioDeviceBackend
{
    private const int PageSize = 4096;
    private const int LastFeature = 12;

    private const int BlockSize = 64;

    private readonly PciDevice _device;
    private readonly PciIoEvents _ioEvents;

    public PciDeviceBackend(PciDevice device)
    {
        _device = device;
        _ioEvents = new(this);
    }

    private Action<bool> _watcher = static _ => { };

    /// <inheritdoc/>
    public VfioDeviceFlags Flags =>
        VfioDeviceFlags.Pci | (_device.Description.CanReset ? VfioDeviceFlags.Reset : VfioDeviceFlags.None);

    /// <inheritdoc/>
    public int RegionCount => (int)VfioPciRegion.Count;

    /// <inheritdoc/>
    public int InterruptCount => (int)VfioPciInterrupt.Count;

    /// <inheritdoc/>
    public IReadOnlyList<VfioResetMember>? ResetMembers =>
        _device.ResetGroup?.Select(static member =>
        {
            DeviceId id = member.Connection?.Id ?? default;
            return new VfioResetMember(member.Backend, id.Segment, (byte)id.Bus, (byte)id.Value);
        }).ToList();

    /// <inheritdoc/>
    public Errno Open()
    {
        _device.CallReset();
        _device.Config.Open();
        return Errno.Success;
    }

    /// <inheritdoc/>
    public void Close()
    {
        _ioEvents.Close();
        _device.UnmapRegisters();
        _device.Config.Close();
        _device.Interrupts.Close();
        _device.CallReset();
    }

    /// <inheritdoc/>
    public Errno GetRegion(int index, out DeviceRegion region)
    {
        const VfioRegionFlags Both = VfioRegionFlags.Read | VfioRegionFlags.Write;
        region = default;
        switch ((VfioPciRegion)index)
        {
            case VfioPciRegion.Config:
                region = new((ulong)_device.Config.Size, Both);
                return Errno.Success;
            case <= VfioPciRegion.Bar5:
                if (_device.BarOf(index) is { } bar)
                {
                    bool canMap = bar.IsMemory && bar.Size >= PageSize;
                    IReadOnlyList<DeviceArea>? areas = canMap ? [new(0, bar.Size, DeviceAreaKind.Memory)] : bar.Areas;
                    region = new(
                        bar.Size,
                        areas is null ? Both : Both | VfioRegionFlags.Mmap,
                        areas,
                        canMap && _device.Description.MsiX?.Bar == index);
                }

                return Errno.Success;
            case VfioPciRegion.Rom:
                return Errno.Success;
            default:
                return Errno.InvalidArgument;
        }
    }

    /// <inheritdoc/>
    public Errno GetInterrupt(int index, out DeviceInterrupt interrupt) => _device.Interrupts.Describe(index, out interrupt);

    /// <inheritdoc/>
    public Errno Read(int index, ulong offset, Span<byte> destination, out int count)
    {
        count = 0;
        if (index == (int)VfioPciRegion.Config)
        {
            if (offset + (ulong)destination.Length > (ulong)_device.Config.Size)
            {
                return Errno.BadAddress;
            }

            if (_device.Config.TryGetWindow((int)offset, destination.Length, out (int Bar, uint Offset, int Size) target))
            {
                Span<byte> data = stackalloc byte[4];
                data = data[..target.Size];
                if (Read(target.Bar, target.Offset, data, out int read) == Errno.Success && read == target.Size)
                {
                    _device.Config.WriteWindow(data);
                }
            }

            VfioPciInterrupt? kind = _device.Interrupts.Kind;
            _device.Config.Read(
                (int)offset,
                destination,
                _device.Interrupts.Line,
                kind == VfioPciInterrupt.Msi,
                kind == VfioPciInterrupt.MsiX);
            _device.CallConfigurationRead((int)offset, destination);
            count = destination.Length;
            return Errno.Success;
        }

        Errno error = CheckAccess(index, offset, destination.Length, out count);
        return error == Errno.Success ? ReadBar(index, offset, destination[..count]) : error;
    }

    /// <inheritdoc/>
    public Errno Write(int index, ulong offset, ReadOnlySpan<byte> source, out int count)
    {
        count = 0;
        if (index == (int)VfioPciRegion.Config)
        {
            if (offset + (ulong)source.Length > (ulong)_device.Config.Size)
            {
                return Errno.BadAddress;
            }

            bool was = IsMemoryEnabled;
            if (_device.Config.Write((int)offset, source))
            {
                ResetDevice();
            }
            else if (was != IsMemoryEnabled)
            {
                _watcher(!was);
            }
            else if (_device.Config.TryGetWindow((int)offset, source.Length, out (int Bar, uint Offset, int Size) target))
            {
                Span<byte> data = stackalloc byte[4];
                data = data[..target.Size];
                _device.Config.ReadWindow(data);
                _ = Write(target.Bar, target.Offset, data, out _);
            }

            _device.Interrupts.SetDisabled((_device.Config.CommandValue & PciConfigSpace.CommandInterruptDisable) != 0);
            _device.CallConfigurationWritten((int)offset, source);
            count = source.Length;
            return Errno.Success;
        }

        Errno error = CheckAccess(index, offset, source.Length, out count);
        return error == Errno.Success ? WriteBar(index, offset, source[..count]) : error;
    }

    /// <inheritdoc/>
    public Errno WriteDeferrable(int index, ulong offset, ReadOnlySpan<byte> command)
    {
        Errno error = CheckAccess(index, offset, command.Length, out int count);
        return error != Errno.Success || count < command.Length ? Errno.NotSupported
            : _device.CallWriteDeferrable(index, offset, command) ? Errno.Success
            : Errno.TryAgain;
    }

    /// <inheritdoc/>
    public Errno Map(int index, ulong offset, ulong length, out nint address)
    {
        address = 0;
        if (FindPages(index, offset, length) is not { } pages)
        {
            return Errno.InvalidArgument;
        }

        address = pages.Address + (nint)offset;
        return Errno.Success;
    }

    /// <inheritdoc/>
    public Errno MapFile(int index, ulong offset, ulong length, out SafeFileHandle? file, out long fileOffset)
    {
        file = null;
        fileOffset = (long)offset;
        if (FindPages(index, offset, length) is not { } pages)
        {
            return Errno.InvalidArgument;
        }

        file = pages.File;
        return file is null ? Errno.NotSupported : Errno.Success;
    }

    /// <inheritdoc/>
    public Errno SetInterrupts(in VfioIrqSet set, ReadOnlySpan<byte> data, IVfioEventSource events) =>
        _device.Interrupts.Set(set, data, events);

    /// <inheritdoc/>
    public Errno Reset()
    {
        if (!_device.Description.CanReset)
        {
            return Errno.InvalidArgument;
        }

        // The configuration space is saved before and restored after.
        ResetDevice();
        return Errno.Success;
    }

    /// <inheritdoc/>
    public void ResetWithBus() => ResetDevice();

    /// <inheritdoc/>
    public bool IsMemoryEnabled => _device.IsMemoryEnabled;

    /// <inheritdoc/>
    public void WatchMemory(Action<bool> watcher) => _watcher = watcher;

    /// <inheritdoc/>
    public Errno GetDmaMemory(int index, ulong offset, ulong length, out PhysicalAddress address)
    {
        address = default;
        nint at = 0;
        Errno error = index <= (int)VfioPciRegion.Bar5 && _device.BarOf(index) is { IsMemory: true }
            ? Map(index, offset, length, out at)
            : Errno.InvalidArgument;
        if (error != Errno.Success || _device.Connection?.HostMemory is not { } host)
        {
            return error != Errno.Success ? error : Errno.NotSupported;
        }

        address = new(host.Value + (ulong)at);
        return Errno.Success;
    }

    /// <inheritdoc/>
    public Errno Feature(VfioFeature feature, VfioFeatureFlags flags, Span<byte> data, IVfioEventSource events)
    {
        const VfioFeatureFlags Operations = VfioFeatureFlags.Get | VfioFeatureFlags.Set;
        if ((int)feature == LastFeature)
        {
            // Linux 7.2 knows the number, and refuses it to a device without migration like this.
            return Errno.InvalidArgument;
        }

        if (feature is not (VfioFeature.LowPowerEntry or VfioFeature.LowPowerEntryWithWakeup or VfioFeature.LowPowerExit))
        {
            return Errno.NotTypewriter;
        }

        // These can only be set.
        if ((flags & Operations & ~VfioFeatureFlags.Set) != 0)
        {
            return Errno.InvalidArgument;
        }

        if ((flags & VfioFeatureFlags.Probe) != 0)
        {
            return Errno.Success;
        }

        if ((flags & VfioFeatureFlags.Set) == 0)
        {
            return Errno.InvalidArgument;
        }

        if (feature != VfioFeature.LowPowerEntryWithWakeup)
        {
            return SetLowPower(feature == VfioFeature.LowPowerEntry, null);
        }

        // The descriptor of the counter, and a reserved word.
        if (data.Length < 2 * sizeof(int) || MemoryMarshal.Read<int>(data[sizeof(int)..]) != 0)
        {
            return Errno.InvalidArgument;
        }

        Errno error = events.GetEventErrno(MemoryMarshal.Read<int>(data), out IVfioEvent? wakeup);
        return error == Errno.Success ? SetLowPower(true, wakeup) : error;
    }

    /// <inheritdoc/>
    public Errno SetIoEvent(in VfioIoEvent write, int descriptor, IVfioEventSource events)
    {
        // Only base address registers, and no write of 8 bytes: what vfio-pci does where the processor has no I/O of 8 bytes. Alignment is the device's affair.
        ulong size = (ulong)write.Size;
        if (write.Region > (int)VfioPciRegion.Bar5
            || _device.BarOf(write.Region) is not { } bar
            || write.Size == sizeof(ulong)
            || write.Offset + size > bar.Size)
        {
            return Errno.InvalidArgument;
        }

        // The table of MSI-X is the kernel's.
        if (_device.Description.MsiX is { } x
            && x.Bar == write.Region
            && write.Offset + size > x.TableOffset
            && write.Offset < x.TableOffset + (16ul * (uint)x.Vectors))
        {
            return Errno.InvalidArgument;
        }

        return _ioEvents.Set(write, descriptor, events);
    }

    /// <inheritdoc/>
    public void RequestRelease() => _device.Interrupts.RequestRelease();

    // What a client can map at a place: plain memory, or registers that the device looks at from then on.
    private SharedPages? FindPages(int index, ulong offset, ulong length)
    {
        if (index > (int)VfioPciRegion.Bar5
            || _device.BarOf(index) is not { } bar
            || offset > bar.Size
            || length > bar.Size - offset)
        {
            return null;
        }

        if (bar.IsMemory)
        {
            return bar.Size >= PageSize ? _device.MemoryOf(index) : null;
        }

        ulong end = offset;
        foreach (DeviceArea area in bar.Areas ?? [])
        {
            if (area.Offset <= end && end < area.Offset + area.Size)
            {
                end = area.Offset + area.Size;
            }
        }

        return end >= offset + length ? _device.MapRegisters(index) : null;
    }

    // Nobody reaches the memory while it is cleared.
    private void ResetDevice()
    {
        _watcher(false);
        _device.CallReset();
        if (IsMemoryEnabled)
        {
            _watcher(true);
        }
    }

    // A device that may lose its power has no memory for others.
    private Errno SetLowPower(bool isLow, IVfioEvent? wakeup)
    {
        if (isLow)
        {
            _watcher(false);
        }

        Errno error = _device.SetLowPower(isLow, wakeup);
        if (!isLow && IsMemoryEnabled)
        {
            _watcher(true);
        }

        return error;
    }

    // The largest naturally aligned access that a processor can make here.
    private static int GetAccessSize(ulong offset, int left)
    {
        int size = 8;
        while (size > left || (offset & (uint)(size - 1)) != 0)
        {
            size >>= 1;
        }

        return size;
    }

    private Errno CheckAccess(int index, ulong offset, int length, out int count)
    {
        count = 0;
        if (index > (int)VfioPciRegion.Bar5 || _device.BarOf(index) is not { } bar || offset >= bar.Size)
        {
            return Errno.InvalidArgument;
        }

        if (!bar.IsIo && !_device.IsMemoryEnabled)
        {
            return Errno.IoError;
        }

        count = (int)Math.Min((ulong)length, bar.Size - offset);
        return Errno.Success;
    }

    // The table of MSI-X is the kernel's: reads give ones, writes go nowhere.
    private bool IsMsiXTable(int index, ulong offset, out ulong left)
    {
        left = ulong.MaxValue;
        if (_device.Description.MsiX is not { } x || x.Bar != index)
        {
            return false;
        }

        ulong end = x.TableOffset + (16ul * (uint)x.Vectors);
        if (offset >= end)
        {
            return false;
        }

        bool inside = offset >= x.TableOffset;
        left = (inside ? end : x.TableOffset) - offset;
        return inside;
    }

    private Errno ReadBar(int index, ulong offset, Span<byte> destination)
    {
        Span<byte> word = stackalloc byte[8];
        while (!destination.IsEmpty)
        {
            int size;
            if (IsMsiXTable(index, offset, out ulong left))
            {
                size = (int)Math.Min((ulong)destination.Length, left);
                destination[..size].Fill(0xff);
            }
            else if (_device.MemoryOf(index) is { } memory)
            {
                size = (int)Math.Min((ulong)destination.Length, left);
                memory.Slice(offset, size).CopyTo(destination);
            }
            else
            {
                size = GetAccessSize(offset, (int)Math.Min((ulong)destination.Length, left));
                BinaryPrimitives.WriteUInt64LittleEndian(word, _device.CallRead(index, offset, size));
                word[..size].CopyTo(destination);
            }

            destination = destination[size..];
            offset += (uint)size;
        }

        return Errno.Success;
    }

    private Errno WriteBar(int index, ulong offset, ReadOnlySpan<byte> source)
    {
        if (source.Length == BlockSize && offset % BlockSize == 0 && !IsMsiXTable(index, offset, out _) && _device.CallWriteBlock(index, offset, source))
        {
            return Errno.Success;
        }

        Span<byte> word = stackalloc byte[8];
        while (!source.IsEmpty)
        {
            int size;
            if (IsMsiXTable(index, offset, out ulong left))
            {
                size = (int)Math.Min((ulong)source.Length, left);
            }
            else if (_device.MemoryOf(index) is { } memory)
            {
                size = (int)Math.Min((ulong)source.Length, left);
                source[..size].CopyTo(memory.Slice(offset, size));
            }
            else
            {
                size = GetAccessSize(offset, (int)Math.Min((ulong)source.Length, left));
                word.Clear();
                source[..size].CopyTo(word);
                _device.CallWrite(index, offset, size, BinaryPrimitives.ReadUInt64LittleEndian(word));
            }

            source = source[size..];
            offset += (uint)size;
        }

        return Errno.Success;
    }
}
