using System.Buffers.Binary;
using System.Numerics;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Devices;

/// <content>The work on a descriptor: a piece at a time, so that it can wait for a page anywhere and go on from there.</content>
public sealed partial class Accelerator
{
    private const int PageSize = 4096;

    private enum Progress
    {
        More,
        NeedsPage,
        NeedsOthers,
        Done,
    }

    private Progress Execute(WorkItem item)
    {
        if (item.Ticket is { } ticket)
        {
            item.Ticket = null;
            if (!ticket.IsSuccess)
            {
                return OnRefused(item);
            }
        }

        return item.Record is not null ? Complete(item) : ExecuteOperation(item, item.Descriptor);
    }

    private Progress ExecuteOperation(WorkItem item, in AcceleratorDescriptor descriptor)
    {
        if (!descriptor.HasKnownFlags)
        {
            return End(item, new(AcceleratorStatus.BadFlags));
        }

        switch (descriptor.Operation)
        {
            case AcceleratorOperation.None:
                return End(item, new(AcceleratorStatus.Success));
            case AcceleratorOperation.Drain when !item.IsInBatch:
                using (_lock.Acquire())
                {
                    if (HasEarlier(item))
                    {
                        return Progress.NeedsOthers;
                    }
                }

                return End(item, new(AcceleratorStatus.Success));
            case AcceleratorOperation.Copy or AcceleratorOperation.Fill or AcceleratorOperation.Compare or AcceleratorOperation.Crc32C:
                return MoveData(item, descriptor);
            case AcceleratorOperation.Batch when !item.IsInBatch:
                return ExecuteBatch(item, descriptor);
            default:
                return End(item, new(AcceleratorStatus.BadOperation));
        }
    }

    private Progress MoveData(WorkItem item, in AcceleratorDescriptor descriptor)
    {
        uint left = descriptor.Length - item.Done;
        if (left == 0)
        {
            return End(item, new(AcceleratorStatus.Success, 0, item.Done, 0, item.Crc));
        }

        bool reads = descriptor.Operation != AcceleratorOperation.Fill;
        bool hasDestination = descriptor.Operation != AcceleratorOperation.Crc32C;
        ulong from = descriptor.Source + item.Done;
        ulong to = descriptor.Destination + item.Done;
        int length = (int)Math.Min(left, (uint)Math.Min(
            reads ? PageSize - (int)(from & (PageSize - 1)) : PageSize,
            hasDestination ? PageSize - (int)(to & (PageSize - 1)) : PageSize));
        Span<byte> data = stackalloc byte[PageSize];
        Span<byte> piece = data[..length];
        if (reads)
        {
            AtsStatus status = Read(item.Pasid, from, piece);
            if (status != AtsStatus.Success)
            {
                return OnFault(item, descriptor, status, from, Access.Read);
            }
        }

        switch (descriptor.Operation)
        {
            case AcceleratorOperation.Crc32C:
                foreach (byte value in piece)
                {
                    item.Crc = BitOperations.Crc32C(item.Crc, value);
                }

                break;
            case AcceleratorOperation.Compare:
                Span<byte> other = stackalloc byte[PageSize];
                other = other[..length];
                AtsStatus read = Read(item.Pasid, to, other);
                if (read != AtsStatus.Success)
                {
                    return OnFault(item, descriptor, read, to, Access.Read);
                }

                int same = piece.CommonPrefixLength(other);
                if (same < length)
                {
                    return End(item, new(AcceleratorStatus.Success, 1, item.Done + (uint)same));
                }

                break;
            default:
                if (!reads)
                {
                    FillPattern(piece, descriptor.Source, item.Done);
                }

                AtsStatus written = Write(item.Pasid, to, piece);
                if (written != AtsStatus.Success)
                {
                    return OnFault(item, descriptor, written, to, Access.Write);
                }

                break;
        }

        item.Done += (uint)length;
        item.Attempts = 0;
        using (_lock.Acquire())
        {
            _statistics = _statistics with { Bytes = _statistics.Bytes + length };
        }

        return Progress.More;
    }

    // A batch works on its descriptors in order; each is an item of its own that the batch carries.
    private Progress ExecuteBatch(WorkItem item, in AcceleratorDescriptor descriptor)
    {
        if (item.Child is { } child)
        {
            child.Ticket = null;
            Progress progress = child.Record is not null ? Complete(child) : ExecuteOperation(child, child.Descriptor);
            item.Ticket = child.Ticket;
            if (progress != Progress.Done)
            {
                return progress;
            }

            item.HasFailedChild |= child.Result.Status != AcceleratorStatus.Success;
            item.Child = null;
            item.Done++;
            return Progress.More;
        }

        if (item.Done == descriptor.Length)
        {
            AcceleratorStatus status = item.HasFailedChild ? AcceleratorStatus.BatchFailed : AcceleratorStatus.Success;
            return End(item, new(status, 0, item.Done));
        }

        Span<byte> bytes = stackalloc byte[AcceleratorDescriptor.Size];
        ulong at = descriptor.Source + ((ulong)item.Done * AcceleratorDescriptor.Size);
        AtsStatus read = Read(item.Pasid, at, bytes);
        if (read != AtsStatus.Success)
        {
            return OnFault(item, descriptor, read, at, Access.Read);
        }

        item.Attempts = 0;
        item.Child = new(item.Pasid, AcceleratorDescriptor.Read(bytes)) { IsInBatch = true, Parent = item };
        return Progress.More;
    }

    // A page is missing, or the IOMMU refused.
    private Progress OnFault(WorkItem item, in AcceleratorDescriptor descriptor, AtsStatus status, ulong address, Access access)
    {
        AcceleratorStatus result = AcceleratorStatus.PageFaultRefused;
        if (status == AtsStatus.PageMissing)
        {
            result = AcceleratorStatus.PageFault;
            if ((descriptor.Flags & AcceleratorFlags.BlockOnFault) != 0 && TryAsk(item, address, access, out Progress progress))
            {
                return progress;
            }
        }

        item.FaultAddress = address;
        return EndWithFault(item, result, address);
    }

    private Progress EndWithFault(WorkItem item, AcceleratorStatus result, ulong address) => End(item, new(
        item.Descriptor.Operation == AcceleratorOperation.Batch ? AcceleratorStatus.BatchPageFault : result, 0, item.Done, address, item.Crc));

    private bool TryAsk(WorkItem item, ulong address, Access access, out Progress progress)
    {
        progress = Progress.NeedsPage;
        if (_connection.Ats is not { } ats || item.Attempts++ >= _options.FaultRetries)
        {
            return false;
        }

        // Items of a batch wait through the batch.
        WorkItem waiter = item.Parent ?? item;
        item.FaultAddress = address;
        Errno error = ats.RequestPage(item.Pasid, address, access, out PageTicket? ticket, _ => OnPageAnswered(waiter));
        item.Ticket = ticket;
        if (error == Errno.Busy)
        {
            // Others have asked for as much as the device may; its turn comes again.
            item.Attempts--;
            progress = Progress.More;
            return true;
        }

        using (_lock.Acquire())
        {
            _statistics = _statistics with { PageWaits = _statistics.PageWaits + (error == Errno.Success ? 1 : 0) };
        }

        return error == Errno.Success;
    }

    private Progress OnRefused(WorkItem item)
    {
        if (item.Child is { } child)
        {
            return OnRefusedChild(item, child);
        }

        if (item.Record is not null)
        {
            return LoseCompletion(item);
        }

        return EndWithFault(item, AcceleratorStatus.PageFaultRefused, item.FaultAddress);
    }

    private Progress OnRefusedChild(WorkItem item, WorkItem child)
    {
        child.Ticket = null;
        Progress progress = OnRefused(child);
        item.Ticket = child.Ticket;
        if (progress != Progress.Done)
        {
            return progress;
        }

        item.HasFailedChild = true;
        item.Child = null;
        item.Done++;
        return Progress.More;
    }

    private Progress End(WorkItem item, in AcceleratorCompletion completion)
    {
        item.Result = completion;
        if (!item.IsInBatch)
        {
            using (_lock.Acquire())
            {
                _statistics = _statistics with
                {
                    Completed = _statistics.Completed + 1,
                    Failed = _statistics.Failed + (completion.Status == AcceleratorStatus.Success ? 0 : 1),
                };
            }
        }

        AcceleratorFlags flags = item.Descriptor.Flags;
        bool wanted = (flags & AcceleratorFlags.CompletionAddressValid) != 0
            && ((flags & AcceleratorFlags.RequestCompletion) != 0 || completion.Status != AcceleratorStatus.Success);
        if (!wanted)
        {
            return Progress.Done;
        }

        item.Record = new byte[AcceleratorCompletion.Size];
        completion.WriteTo(item.Record);
        item.Attempts = 0;
        return Complete(item);
    }

    // The status is written last: software that polls it sees the rest.
    private Progress Complete(WorkItem item)
    {
        ulong at = item.Descriptor.Completion & ~(ulong)(AcceleratorCompletion.Size - 1);
        AtsStatus status = Write(item.Pasid, at + 8, item.Record.AsSpan(8));
        if (status == AtsStatus.Success)
        {
            ulong first = BinaryPrimitives.ReadUInt64LittleEndian(item.Record);
            Span<byte> bytes = stackalloc byte[8];
            BinaryPrimitives.WriteUInt64LittleEndian(bytes, first);
            status = Write(item.Pasid, at, bytes);
        }

        if (status == AtsStatus.PageMissing && TryAsk(item, at, Access.Write, out Progress progress))
        {
            return progress;
        }

        return status == AtsStatus.Success ? Progress.Done : LoseCompletion(item);
    }

    private Progress LoseCompletion(WorkItem item)
    {
        item.Record = null;
        using (_lock.Acquire())
        {
            _statistics = _statistics with { LostCompletions = _statistics.LostCompletions + 1 };
        }

        return Progress.Done;
    }

    private AtsStatus Read(Pasid pasid, ulong address, Span<byte> destination)
    {
        if (_connection.Ats is { } ats)
        {
            return ats.Read(pasid, address, destination, out _);
        }

        DmaRequest request = new(_connection.Id, new(address), DmaFlags.PasidValid, DmaKind.Untranslated, pasid);
        return _connection.Port.Read(request, destination) == DmaStatus.Success ? AtsStatus.Success : AtsStatus.PageMissing;
    }

    private AtsStatus Write(Pasid pasid, ulong address, ReadOnlySpan<byte> source)
    {
        if (_connection.Ats is { } ats)
        {
            return ats.Write(pasid, address, source, out _);
        }

        DmaRequest request = new(
            _connection.Id, new(address), DmaFlags.PasidValid | DmaFlags.Write, DmaKind.Untranslated, pasid);
        return _connection.Port.Write(request, source) == DmaStatus.Success ? AtsStatus.Success : AtsStatus.PageMissing;
    }

    private static void FillPattern(Span<byte> piece, ulong pattern, uint offset)
    {
        for (int i = 0; i < piece.Length; i++)
        {
            piece[i] = (byte)(pattern >> (int)((offset + (uint)i) % 8 * 8));
        }
    }

    private sealed class WorkItem(Pasid pasid, in AcceleratorDescriptor descriptor)
    {
        public Pasid Pasid { get; } = pasid;

        public AcceleratorDescriptor Descriptor { get; } = descriptor;

        public long Sequence { get; init; }

        /// <summary>Under the queue's lock.</summary>
        public Place Place { get; set; }

        /// <summary>Under the queue's lock.</summary>
        public bool IsAborted { get; set; }

        public PageTicket? Ticket { get; set; }

        public int Attempts { get; set; }

        public ulong FaultAddress { get; set; }

        public uint Done { get; set; }

        public uint Crc { get; set; } = descriptor.Seed;

        public AcceleratorCompletion Result { get; set; }

        /// <summary>The completion record, once the operation has ended.</summary>
        public byte[]? Record { get; set; }

        public bool IsInBatch { get; init; }

        public WorkItem? Parent { get; init; }

        public WorkItem? Child { get; set; }

        public bool HasFailedChild { get; set; }
    }
}
