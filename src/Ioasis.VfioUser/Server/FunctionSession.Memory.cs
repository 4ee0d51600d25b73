using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Ioasis.Kernel;
using Ioasis.Primitives;
using Ioasis.Uapi;
using Microsoft.Win32.SafeHandles;

namespace Ioasis.VfioUser;

/// <content>The client's memory: what it shows, what it takes back, what the device has written, and memory that is reached by messages.</content>
internal sealed partial class FunctionSession : IMemoryLink
{
    private const ulong LogPageSize = 1ul << DirtyPages.PageShift;

    private Errno MapMemory(Message request)
    {
        if (request.Payload.Length < DmaMapStructure.Bytes || request.DescriptorCount > 1)
        {
            return Errno.InvalidArgument;
        }

        DmaMapStructure map = MemoryMarshal.Read<DmaMapStructure>(request.Payload);
        if (map.Argsz < DmaMapStructure.Bytes)
        {
            return Errno.InvalidArgument;
        }

        using SafeFileHandle? file = request.DescriptorCount == 1 ? request.TakeDescriptor(0) : null;
        return _memory.Add(map.Address, map.Size, map.Flags, file, map.Offset, _agreement.MaxMaps);
    }

    private Errno UnmapMemory(ReadOnlySpan<byte> payload)
    {
        if (payload.Length < DmaUnmapStructure.Bytes)
        {
            return Errno.InvalidArgument;
        }

        DmaUnmapStructure unmap = MemoryMarshal.Read<DmaUnmapStructure>(payload);
        if (unmap.Argsz < DmaUnmapStructure.Bytes)
        {
            return Errno.InvalidArgument;
        }

        switch (unmap.Flags)
        {
            case DmaUnmapFlags.None:
                Put(unmap);
                return _memory.Remove(unmap.Address, unmap.Size);
            case DmaUnmapFlags.All when unmap is { Address: 0, Size: 0 }:
                _memory.Clear();
                Put(unmap);
                return Errno.Success;
            case DmaUnmapFlags.GetDirtyBitmap:
                return UnmapWithLog(unmap, payload[DmaUnmapStructure.Bytes..]);
            default:
                return Errno.InvalidArgument;
        }
    }

    private Errno UnmapWithLog(in DmaUnmapStructure unmap, ReadOnlySpan<byte> rest)
    {
        if (rest.Length < BitmapStructure.Bytes)
        {
            return Errno.InvalidArgument;
        }

        BitmapStructure bitmap = MemoryMarshal.Read<BitmapStructure>(rest);
        Errno error = CheckLog(unmap.Address, unmap.Size, bitmap.PageSize, DmaUnmapStructure.Bytes + BitmapStructure.Bytes, unmap.Argsz, bitmap.Size, out int bytes);
        if (error == Errno.Success)
        {
            error = _memory.Remove(unmap.Address, unmap.Size);
        }

        if (error == Errno.Success)
        {
            Put(unmap);
            Put(bitmap with { Size = (ulong)bytes });
            _memory.Log!.Take(unmap.Address, unmap.Size, bitmap.PageSize, Reserve(bytes));
        }

        return error;
    }

    // VFIO_USER_DIRTY_PAGES, of which newer clients know nothing.
    private Errno ReportDirtyPages(ReadOnlySpan<byte> payload)
    {
        const int Request = DirtyPagesStructure.Bytes + DmaRangeStructure.Bytes + BitmapStructure.Bytes;
        if (payload.Length < DirtyPagesStructure.Bytes)
        {
            return Errno.InvalidArgument;
        }

        DirtyPagesStructure pages = MemoryMarshal.Read<DirtyPagesStructure>(payload);
        switch (pages.Flags)
        {
            case DirtyPagesFlags.Start:
                _memory.Log ??= new();
                return Errno.Success;
            case DirtyPagesFlags.Stop:
                _memory.Log = null;
                return Errno.Success;
            case DirtyPagesFlags.GetBitmap when payload.Length >= Request:
                break;
            default:
                return Errno.InvalidArgument;
        }

        DmaRangeStructure range = MemoryMarshal.Read<DmaRangeStructure>(payload[DirtyPagesStructure.Bytes..]);
        BitmapStructure bitmap = MemoryMarshal.Read<BitmapStructure>(payload[(DirtyPagesStructure.Bytes + DmaRangeStructure.Bytes)..]);
        Errno error = CheckLog(range.Address, range.Size, bitmap.PageSize, Request, pages.Argsz, bitmap.Size, out int bytes);
        if (error == Errno.Success)
        {
            Put(pages with { Argsz = (uint)(Request + bytes) });
            Put(range);
            Put(bitmap with { Size = (ulong)bytes });
            _memory.Log!.Take(range.Address, range.Size, bitmap.PageSize, Reserve(bytes));
        }

        return error;
    }

    private Errno UseFeature(ReadOnlySpan<byte> payload)
    {
        int head = Unsafe.SizeOf<VfioDeviceFeature>();
        if (payload.Length < head)
        {
            return Errno.InvalidArgument;
        }

        Put(payload);
        Errno error = VfioDeviceCalls.TakeFeature(_reply.AsSpan(0, _replyLength), out VfioFeatureFlags operation, out Span<byte> data);
        VfioFeature feature = (VfioFeature)(MemoryMarshal.Read<uint>(payload[sizeof(uint)..]) & (uint)VfioFeatureFlags.NumberMask);
        if (error != Errno.Success || feature is not (VfioFeature.DmaLoggingStart or VfioFeature.DmaLoggingStop or VfioFeature.DmaLoggingReport))
        {
            return error == Errno.Success
                ? VfioDeviceCalls.Ioctl(_events, _backend, VfioRequests.DeviceFeature, _reply.AsSpan(0, _replyLength))
                : error;
        }

        VfioFeatureFlags possible = feature == VfioFeature.DmaLoggingReport ? VfioFeatureFlags.Get : VfioFeatureFlags.Set;
        if ((operation & ~(possible | VfioFeatureFlags.Probe)) != 0 || operation == VfioFeatureFlags.None)
        {
            return Errno.InvalidArgument;
        }

        return (operation & VfioFeatureFlags.Probe) != 0 ? Errno.Success : feature switch
        {
            VfioFeature.DmaLoggingStart => StartLog(data),
            VfioFeature.DmaLoggingStop => StopLog(),
            _ => ReportLog(data, MemoryMarshal.Read<uint>(payload)),
        };
    }

    // Everything is logged, page by page, whatever ranges are of interest.
    private Errno StartLog(Span<byte> data)
    {
        if (data.Length < LoggingStartStructure.Bytes)
        {
            return Errno.InvalidArgument;
        }

        LoggingStartStructure start = MemoryMarshal.Read<LoggingStartStructure>(data);
        if (start.RangeCount > (uint)((data.Length - LoggingStartStructure.Bytes) / DmaRangeStructure.Bytes) || _memory.Log is not null)
        {
            return Errno.InvalidArgument;
        }

        MemoryMarshal.Write(data, start with { PageSize = LogPageSize });
        _memory.Log = new();
        return Errno.Success;
    }

    private Errno StopLog()
    {
        bool was = _memory.Log is not null;
        _memory.Log = null;
        return was ? Errno.Success : Errno.InvalidArgument;
    }

    private Errno ReportLog(ReadOnlySpan<byte> data, uint room)
    {
        if (data.Length < LoggingReportStructure.Bytes)
        {
            return Errno.InvalidArgument;
        }

        int head = Unsafe.SizeOf<VfioDeviceFeature>() + LoggingReportStructure.Bytes;
        LoggingReportStructure report = MemoryMarshal.Read<LoggingReportStructure>(data);
        Errno error = CheckLog(report.Address, report.Size, report.PageSize, head, room, ulong.MaxValue, out int bytes);
        if (error == Errno.Success)
        {
            _replyLength = head;
            _memory.Log!.Take(report.Address, report.Size, report.PageSize, Reserve(bytes));
            MemoryMarshal.Write(_reply, (uint)_replyLength);
        }

        return error;
    }

    // Whether a range can be reported, and in how many bytes: of the message the client takes so many, and of bits so many.
    private Errno CheckLog(ulong address, ulong size, ulong pageSize, int head, uint room, ulong bitmapRoom, out int bytes)
    {
        bytes = 0;
        if (_memory.Log is null || size == 0 || pageSize < LogPageSize || !ulong.IsPow2(pageSize)
            || (address & (pageSize - 1)) != 0 || address + (size - 1) < address)
        {
            return Errno.InvalidArgument;
        }

        ulong needed = DirtyPages.BytesOf(size, pageSize);
        if (needed > (ulong)_agreement.MaxTransfer)
        {
            return Errno.ArgumentTooBig;
        }

        bytes = (int)needed;
        return room >= (uint)(head + bytes) && bitmapRoom >= needed ? Errno.Success : Errno.InvalidArgument;
    }

    /// <inheritdoc/>
    Errno IMemoryLink.Read(ulong address, Span<byte> destination)
    {
        while (!destination.IsEmpty)
        {
            DmaAccessStructure access = new(address, (ulong)Math.Min(destination.Length, _agreement.MaxTransfer));
            Errno error = _peer.Call(VfioUserCommand.DmaRead, MemoryMarshal.AsBytes(new ReadOnlySpan<DmaAccessStructure>(in access)), [], out Message? reply);
            if (error != Errno.Success)
            {
                return error;
            }

            using (reply)
            {
                if (!Answers(reply!, access, (int)access.Count))
                {
                    return Errno.IoError;
                }

                reply!.Payload.Slice(DmaAccessStructure.Bytes, (int)access.Count).CopyTo(destination);
            }

            destination = destination[(int)access.Count..];
            address += access.Count;
        }

        return Errno.Success;
    }

    /// <inheritdoc/>
    Errno IMemoryLink.Write(ulong address, ReadOnlySpan<byte> source)
    {
        while (!source.IsEmpty)
        {
            DmaAccessStructure access = new(address, (ulong)Math.Min(source.Length, _agreement.MaxTransfer));
            Errno error = _peer.Call(
                VfioUserCommand.DmaWrite, MemoryMarshal.AsBytes(new ReadOnlySpan<DmaAccessStructure>(in access)), source[..(int)access.Count], out Message? reply);
            if (error != Errno.Success)
            {
                return error;
            }

            using (reply)
            {
                if (!Answers(reply!, access, 0))
                {
                    return Errno.IoError;
                }
            }

            source = source[(int)access.Count..];
            address += access.Count;
        }

        return Errno.Success;
    }

    // A client that answers something else cannot be followed any more. The count of an answer to a write has 4 bytes in the specification's table and
    // 8 in its text.
    private bool Answers(Message reply, in DmaAccessStructure access, int data)
    {
        ReadOnlySpan<byte> payload = reply.Payload;
        if (payload.Length >= DmaAccessStructure.Bytes - (data == 0 ? sizeof(uint) : 0) + data
            && MemoryMarshal.Read<ulong>(payload) == access.Address
            && MemoryMarshal.Read<uint>(payload[sizeof(ulong)..]) == access.Count)
        {
            return true;
        }

        _peer.Close($"it answered {reply.Header.Command} of {access.Count} bytes at 0x{access.Address:x} with another access");
        return false;
    }
}
