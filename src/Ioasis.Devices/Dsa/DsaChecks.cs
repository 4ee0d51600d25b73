namespace Ioasis.Devices.Dsa;

/// <summary>What is wrong with a descriptor before anything is done (DSA specification 1.x, sections 5.7 and 8.3).</summary>
internal static class DsaChecks
{
    private const DsaFlags Common = DsaFlags.BlockOnFault | DsaFlags.CompletionAddressValid | DsaFlags.RequestCompletion
        | DsaFlags.RequestInterrupt | DsaFlags.CompletionSteering | DsaFlags.CompletionTrafficClass;

    private const DsaFlags Writes = DsaFlags.CacheControl | DsaFlags.TrafficClasses | DsaFlags.StrictOrder | DsaFlags.Readback
        | DsaFlags.DestinationSteering;

    private const DsaFlags CrcFlags = DsaFlags.ReadSeed | DsaFlags.PlainCrc | DsaFlags.PlainData;

    // Offsets of a delta record have 16 bits and count units of 8 bytes.
    private const uint LargestDelta = 8 << 16;

    /// <summary>Operations that the engine has, as OPCAP says them.</summary>
    public const ulong Operations = 0x3ff | (3ul << 16) | (1ul << 32);

    /// <summary>Bytes of an entry of a delta record: offset and data.</summary>
    public const int DeltaEntry = 10;

    /// <summary>Finds what is wrong.</summary>
    /// <param name="descriptor">The descriptor.</param>
    /// <param name="bytes">Its bytes.</param>
    /// <param name="queue">The queue that took it, or the batch that it is in.</param>
    /// <param name="isInBatch">Whether it is in a batch.</param>
    /// <param name="badFlags">The flags that are wrong, with <see cref="DsaStatus.BadFlags"/>.</param>
    /// <returns><see cref="DsaStatus.None"/> if nothing is.</returns>
    public static DsaStatus Find(in DsaDescriptor descriptor, ReadOnlySpan<byte> bytes, DsaQueue queue, bool isInBatch, out DsaFlags badFlags)
    {
        badFlags = DsaFlags.None;
        int operation = (int)descriptor.Operation;
        if (operation > 63
            || (queue.Operations >> operation & 1) == 0
            || (isInBatch && descriptor.Operation is DsaOperation.Batch or DsaOperation.Drain))
        {
            return DsaStatus.BadOperation;
        }

        badFlags = FindFlags(descriptor, queue, isInBatch);
        return badFlags != DsaFlags.None ? DsaStatus.BadFlags
            : HasReservedField(descriptor, bytes) ? DsaStatus.ReservedField
            : descriptor.IsPrivileged && !queue.IsDedicated && !isInBatch ? DsaStatus.Privilege
            : FindSize(descriptor, queue) is var size and not DsaStatus.None ? size
            : FindAddress(descriptor);
    }

    private static DsaFlags FindFlags(in DsaDescriptor descriptor, DsaQueue queue, bool isInBatch)
    {
        DsaFlags known = Common | descriptor.Operation switch
        {
            DsaOperation.Move or DsaOperation.Fill or DsaOperation.ApplyDelta or DsaOperation.Dualcast => Writes,
            DsaOperation.Compare or DsaOperation.ComparePattern => DsaFlags.CheckResult | DsaFlags.TrafficClasses,
            DsaOperation.CreateDelta => Writes | DsaFlags.CheckResult,
            DsaOperation.Crc => DsaFlags.TrafficClasses | CrcFlags,
            DsaOperation.CopyCrc => Writes | CrcFlags,
            DsaOperation.CacheFlush => DsaFlags.CacheControl | DsaFlags.TrafficClasses,
            DsaOperation.Batch => DsaFlags.TrafficClasses,
            _ => DsaFlags.None,
        };
        known |= isInBatch ? DsaFlags.Fence : DsaFlags.None;
        known &= queue.BlockOnFault ? known : ~DsaFlags.BlockOnFault;
        known &= descriptor.Has(DsaFlags.CompletionAddressValid) ? known : ~DsaFlags.RequestCompletion;
        return descriptor.Flags & ~known;
    }

    // Which of the 64 bytes mean something.
    private static bool HasReservedField(in DsaDescriptor descriptor, ReadOnlySpan<byte> bytes)
    {
        const ulong Header = 0xffff | (3ul << 36);
        const ulong First = 0xfful << 16;
        const ulong Second = 0xfful << 24;
        const ulong Count = 0xful << 32;
        ulong used = Header | descriptor.Operation switch
        {
            DsaOperation.Move or DsaOperation.Fill => First | Second | Count,
            DsaOperation.Compare or DsaOperation.ComparePattern => First | Second | Count | (1ul << 40),
            DsaOperation.CreateDelta => First | Second | Count | (0xffful << 40) | (1ul << 56),
            DsaOperation.ApplyDelta => First | Second | Count | (0xful << 40),
            DsaOperation.Dualcast => First | Second | Count | (0xfful << 40),
            DsaOperation.Crc => First | Count | (0xful << 40) | (0xfful << 48),
            DsaOperation.CopyCrc => First | Second | Count | (0xful << 40) | (0xfful << 48),
            DsaOperation.Batch => First | Count,
            DsaOperation.CacheFlush => Second | Count,
            _ => 0,
        };
        for (int i = 0; i < bytes.Length; i++)
        {
            if ((used >> i & 1) == 0 && bytes[i] != 0)
            {
                return true;
            }
        }

        return false;
    }

    private static DsaStatus FindSize(in DsaDescriptor descriptor, DsaQueue queue)
    {
        if (descriptor.Operation is DsaOperation.None or DsaOperation.Drain)
        {
            return DsaStatus.None;
        }

        if (descriptor.Operation == DsaOperation.Batch)
        {
            return descriptor.Length < 2 || descriptor.Length > queue.MaxBatch ? DsaStatus.DescriptorCount : DsaStatus.None;
        }

        bool isDelta = descriptor.Operation is DsaOperation.CreateDelta or DsaOperation.ApplyDelta;
        if (descriptor.Length == 0
            || descriptor.Length > queue.MaxTransfer
            || (isDelta && (descriptor.Length % sizeof(ulong) != 0 || descriptor.Length > LargestDelta)))
        {
            return DsaStatus.TransferSize;
        }

        ulong record = descriptor.Operation == DsaOperation.CreateDelta ? (uint)descriptor.Extra2 : (uint)descriptor.Extra;
        bool isBad = descriptor.Operation switch
        {
            DsaOperation.CreateDelta => record < 8 * DeltaEntry || record % DeltaEntry != 0,
            DsaOperation.ApplyDelta => record == 0 || record % DeltaEntry != 0 || record / DeltaEntry > descriptor.Length / sizeof(ulong),
            _ => false,
        };
        return isBad ? DsaStatus.DeltaSize : DsaStatus.None;
    }

    private static DsaStatus FindAddress(in DsaDescriptor d)
    {
        switch (d.Operation)
        {
            case DsaOperation.Batch:
                return d.Source % DsaDescriptor.Size != 0 ? DsaStatus.ListAlignment : DsaStatus.None;
            case DsaOperation.CreateDelta:
                return ((d.Source | d.Destination) & 7) != 0 ? DsaStatus.AddressAlignment
                    : Overlaps(d.Extra, (uint)d.Extra2, d.Source, d.Length) || Overlaps(d.Extra, (uint)d.Extra2, d.Destination, d.Length) ? DsaStatus.Overlap
                    : DsaStatus.None;
            case DsaOperation.ApplyDelta:
                return (d.Destination & 7) != 0 ? DsaStatus.AddressAlignment
                    : Overlaps(d.Source, (uint)d.Extra, d.Destination, d.Length) ? DsaStatus.Overlap
                    : DsaStatus.None;
            case DsaOperation.Dualcast:
                return ((d.Destination ^ d.Extra) & 4095) != 0 ? DsaStatus.DualcastAddress
                    : Overlaps(d.Source, d.Length, d.Destination, d.Length)
                        || Overlaps(d.Source, d.Length, d.Extra, d.Length)
                        || Overlaps(d.Destination, d.Length, d.Extra, d.Length) ? DsaStatus.Overlap
                    : DsaStatus.None;
            case DsaOperation.CopyCrc:
                return Overlaps(d.Source, d.Length, d.Destination, d.Length) ? DsaStatus.Overlap : DsaStatus.None;
            default:
                return DsaStatus.None;
        }
    }

    private static bool Overlaps(ulong first, uint firstLength, ulong second, uint secondLength) =>
        first - second < secondLength || second - first < firstLength;
}
