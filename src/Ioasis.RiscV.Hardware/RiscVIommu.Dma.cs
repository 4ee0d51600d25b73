using System.Runtime.CompilerServices;
using Ioasis.Hardware;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;

namespace Ioasis.RiscV.Hardware;

/// <content>The device side: <see cref="IDmaPort"/>, and the debug interface that stands in for a device (chapter 4).</content>
public sealed partial class RiscVIommu
{
    private const int PageShift = 12;

    // Bytes that are accessed between two looks of a fence.
    private const int LongestRun = 1 << 16;

    // A device_id has 24 bits (section 2.1).
    private const uint MaxDeviceId = 0xff_ffff;

    /// <inheritdoc/>
    public void Translate(in DmaRequest request, out DmaTranslation translation)
    {
        // The most frequent case: a hit on a page of 4 KiB in ordinary memory. No call is made, so that no register has to be saved.
        ulong iova = request.Address.Value;
        ulong key = request.Device.Value;
        uint flags = (uint)request.Flags;
        if (request.Kind == DmaKind.Untranslated && Volatile.Read(ref _activeEvents) == 0)
        {
            if ((flags & (uint)DmaFlags.PasidValid) != 0)
            {
                key = KeyOf(request);
            }

            TranslationContext? context = _contexts.First(key);
            if (context is not null && context.Key == key && context.Space is { } space && context.Counters is null
                && ((iova + context.RangeBias) & context.RangeMask) == 0 && _iotlb is { } iotlb)
            {
                ulong value = iotlb.FindPage(space, iova);
                if ((value >> PermissionOf[(int)(flags & 63)] & 1) != 0 && (value & IotlbValue.UnusualMask) == 0)
                {
                    translation = new(new((value & IotlbValue.AddressMask) | (iova & 0xfff)), DmaStatus.Success);
                    return;
                }
            }
        }

        TranslateOtherThanPageHit(request, out translation);
    }

    // The key of a context for a request with a PASID. What is too wide must not look like one.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong KeyOf(in DmaRequest request) => request.Device.Value > MaxDeviceId
        ? ulong.MaxValue
        : request.Device.Value | ((ulong)(request.Pasid.Value & Pasid.MaxValue) << 24) | TranslationContext.HasProcessBit;

    [MethodImpl(MethodImplOptions.NoInlining)]
    private void TranslateOtherThanPageHit(in DmaRequest request, out DmaTranslation translation)
    {
        if (TryTranslateFast(request, out ulong address, out ulong value, out int sizeLog2))
        {
            translation = new(
                new(address),
                DmaStatus.Success,
                (byte)sizeLog2,
                (byte)(value >> IotlbValue.PbmtShift & IotlbValue.PbmtMask),
                (value & IotlbValue.MsiBit) != 0 ? DmaTranslationFlags.Interrupt : 0);
            return;
        }

        TranslateByWalk(request, out translation);
    }

    // Which bit of an IotlbValue permits a request, by DmaFlags; 63, which is never set, for what the slow path has to look at.
    private static ReadOnlySpan<byte> PermissionOf =>
    [
        // None, Write, Execute, Execute|Write; then with Privileged, NoWrite, Cxl (which change nothing without a PASID).
        0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2, 1,

        // With a PASID, Privileged counts.
        0, 1, 2, 1, 63, 63, 63, 63, 0, 1, 2, 1, 63, 63, 63, 63, 0, 1, 2, 1, 63, 63, 63, 63, 0, 1, 2, 1, 63, 63, 63, 63,
    ];

    // An untranslated request whose context and page are cached and that is permitted: no lock, no allocation, no shared line written.
    // Contexts are cached only while ddtp has a directory, and forgotten when it changes, so ddtp needs no look here.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private bool TryTranslateFast(in DmaRequest dma, out ulong address, out ulong value, out int sizeLog2)
    {
        ulong iova = dma.Address.Value;
        value = 0;
        sizeLog2 = 12;
        address = 0;
        ulong key = dma.Device.Value;
        uint flags = (uint)dma.Flags;
        if ((flags & (uint)DmaFlags.PasidValid) != 0)
        {
            key = KeyOf(dma);
        }

        if (dma.Kind != DmaKind.Untranslated || Volatile.Read(ref _activeEvents) != 0 || FindContext(key) is not { } context)
        {
            return false;
        }

        // A supervisor's permissions are elsewhere, or nowhere without ENS.
        int permission = PermissionOf[(int)(flags & 63)];
        if (permission == 63)
        {
            if (context.SupervisorShift < 0)
            {
                return false;
            }

            permission = context.SupervisorShift + PermissionOf[(int)(flags & 3)];
        }

        if (context.Space is not { } space)
        {
            // Neither stage translates.
            address = iova & context.PassThroughMask;
            sizeLog2 = context.PassThroughSizeLog2;
        }
        else
        {
            if (((iova + context.RangeBias) & context.RangeMask) != 0 || _iotlb is not { } iotlb)
            {
                return false;
            }

            if (!iotlb.TryFind(space, iova, out value, out sizeLog2) || (value >> permission & 1) == 0)
            {
                return false;
            }

            address = Iotlb.AddressOf(value, sizeLog2, iova);
        }

        context.Counters?.CountHit();
        return true;
    }

    private void TranslateByWalk(in DmaRequest dma, out DmaTranslation translation)
    {
        EnterAccess(out ReaderSlot? slot);
        if (TryWalkFast(dma, out translation, out TranslationContext? faulting))
        {
            ExitAccess(slot);
            return;
        }

        if (faulting is not null)
        {
            ExitAccess(slot);
            translation = ReportMissingEntry(dma, faulting);
            return;
        }

        Request request = MakeRequest(dma);
        bool translated = Process(ref request, out Outcome outcome);
        ExitAccess(slot);
        translation = Conclude(request, outcome, translated);
    }

    // Called outside of the access: reports the fault, if there is one.
    private DmaTranslation Conclude(in Request request, in Outcome outcome, bool translated)
    {
        RaiseOverflow();
        if (translated)
        {
            return Complete(request, outcome);
        }

        DmaStatus status = Answer(request, out bool report);
        if (report)
        {
            ReportTranslationFault(request);
        }

        return new(default, status);
    }

    /// <inheritdoc/>
    public DmaStatus Read(in DmaRequest request, Span<byte> destination)
    {
        EnterAccess(out ReaderSlot? slot);
        if (TryFindPiece(request, request.Flags & ~DmaFlags.Write, destination.Length, out ulong address))
        {
            _ = Injection.Hit(InjectionKind.MemoryRead);
            MemoryStatus access = _memory.Read(new(address), destination);
            ExitAccess(slot);
            return EndAccess(access);
        }

        ExitAccess(slot);
        return ReadPieces(request, destination);
    }

    /// <inheritdoc/>
    public DmaStatus Write(in DmaRequest request, ReadOnlySpan<byte> source)
    {
        EnterAccess(out ReaderSlot? slot);
        if (TryFindPiece(request, request.Flags | DmaFlags.Write, source.Length, out ulong address))
        {
            _ = Injection.Hit(InjectionKind.MemoryRead);
            MemoryStatus access = _memory.Write(new(address), source);
            ExitAccess(slot);
            return EndAccess(access);
        }

        ExitAccess(slot);
        return WritePieces(request, source);
    }

    // Inside an access, the most frequent one: within 4 KiB that are cached and permitted.
    // Not inlined: it ends with the wide registers clean, which the copy needs.
    [MethodImpl(MethodImplOptions.NoInlining)]
    private bool TryFindPiece(in DmaRequest request, DmaFlags access, int length, out ulong address)
    {
        ulong iova = request.Address.Value;
        uint flags = (uint)access;
        ulong key = (flags & (uint)DmaFlags.PasidValid) != 0 ? KeyOf(request) : request.Device.Value;
        address = 0;
        TranslationContext? context = _contexts.First(key);
        if (request.Kind != DmaKind.Untranslated || Volatile.Read(ref _activeEvents) != 0
            || (uint)(length - 1) >= (1u << PageShift) - ((uint)iova & ((1u << PageShift) - 1))
            || context is null || context.Key != key || context.Space is not { } space || context.Counters is not null
            || ((iova + context.RangeBias) & context.RangeMask) != 0 || _iotlb is not { } iotlb)
        {
            return false;
        }

        ulong value = iotlb.FindPage(space, iova);
        int permission = PermissionOf[(int)(flags & 63)];
        if (value == 0)
        {
            return iotlb.TryFindAddress(space, iova, permission, out address);
        }

        address = (value & IotlbValue.AddressMask) | (iova & ((1ul << PageShift) - 1));
        return (value >> permission & 1) != 0;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private DmaStatus ReadPieces(in DmaRequest request, Span<byte> destination)
    {
        DmaRequest piece = request with { Flags = request.Flags & ~DmaFlags.Write };
        while (destination.Length > 0)
        {
            EnterAccess(out ReaderSlot? slot);
            int length = TranslateRun(ref piece, destination.Length, out ulong address);
            DmaStatus status;
            if (length > 0)
            {
                MemoryStatus access = _memory.Read(new(address), destination[..length]);
                ExitAccess(slot);
                status = EndAccess(access);
            }
            else
            {
                ExitAccess(slot);
                length = PieceLength(piece.Address, destination.Length);
                status = ReadPiece(piece, destination[..length]);
                piece = piece with { Address = piece.Address + (ulong)length };
            }

            if (status != DmaStatus.Success)
            {
                return status;
            }

            destination = destination[length..];
        }

        return DmaStatus.Success;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private DmaStatus WritePieces(in DmaRequest request, ReadOnlySpan<byte> source)
    {
        DmaRequest piece = request with { Flags = request.Flags | DmaFlags.Write };
        while (source.Length > 0)
        {
            EnterAccess(out ReaderSlot? slot);
            int length = TranslateRun(ref piece, source.Length, out ulong address);
            DmaStatus status;
            if (length > 0)
            {
                MemoryStatus access = _memory.Write(new(address), source[..length]);
                ExitAccess(slot);
                status = EndAccess(access);
            }
            else
            {
                ExitAccess(slot);
                length = PieceLength(piece.Address, source.Length);
                status = WritePiece(piece, source[..length]);
                piece = piece with { Address = piece.Address + (ulong)length };
            }

            if (status != DmaStatus.Success)
            {
                return status;
            }

            source = source[length..];
        }

        return DmaStatus.Success;
    }

    // Inside an access: as many of the bytes as lie in pages that are cached, permitted and contiguous, each page translated once. What is
    // found moves the request on; 0 for a first page that has to be looked at by itself.
    private int TranslateRun(ref DmaRequest dma, int most, out ulong address)
    {
        PrefetchRun(dma, most);
        if (!TryTranslateFast(dma, out address, out _, out _))
        {
            return 0;
        }

        _ = Injection.Hit(InjectionKind.MemoryRead);
        most = Math.Min(most, LongestRun);
        int length = PieceLength(dma.Address, most);
        length = length < most ? ExtendRun(dma, length, most, address) : length;
        dma = dma with { Address = dma.Address + (ulong)length };
        return length;
    }

    private void PrefetchRun(in DmaRequest dma, int most)
    {
        ulong key = (dma.Flags & DmaFlags.PasidValid) != 0 ? KeyOf(dma) : dma.Device.Value;
        if (most > 1 << PageShift && _iotlb is { } iotlb && FindContext(key) is { Space: { } space })
        {
            iotlb.Prefetch(space, dma.Address.Value, most);
        }
    }

    // The pages behind the first, whose context is the same. What is not plain is left for the next run.
    private int ExtendRun(in DmaRequest dma, int length, int most, ulong address)
    {
        uint flags = (uint)dma.Flags;
        int permission = PermissionOf[(int)(flags & 63)];
        ulong key = (flags & (uint)DmaFlags.PasidValid) != 0 ? KeyOf(dma) : dma.Device.Value;
        if (permission == 63 || FindContext(key) is not { Counters: null, Space: { } space } context || _iotlb is not { } iotlb)
        {
            return length;
        }

        return iotlb.ExtendRun(space, permission, (context.RangeBias, context.RangeMask), dma.Address.Value, address, length, most);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private DmaStatus ReadPiece(in DmaRequest piece, Span<byte> destination)
    {
        EnterAccess(out ReaderSlot? slot);
        bool translated = TranslateInside(piece, out Request inner, out ulong address, out MrifTarget? file);
        if (file is null)
        {
            MemoryStatus access = translated ? _memory.Read(new(address), destination) : MemoryStatus.AccessFault;
            ExitAccess(slot);
            return EndAccess(inner, translated, access);
        }

        DmaStatus status = ReadResident(inner, destination);
        ExitAccess(slot);
        return EndResident(inner, status, noticeOf: null);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private DmaStatus WritePiece(in DmaRequest piece, ReadOnlySpan<byte> source)
    {
        EnterAccess(out ReaderSlot? slot);
        bool translated = TranslateInside(piece, out Request inner, out ulong address, out MrifTarget? file);
        if (file is null)
        {
            MemoryStatus access = translated ? _memory.Write(new(address), source) : MemoryStatus.AccessFault;
            ExitAccess(slot);
            return EndAccess(inner, translated, access);
        }

        DmaStatus status = WriteResident(ref inner, file, source, out bool notify);
        ExitAccess(slot);
        return EndResident(inner, status, notify ? file : null);
    }

    private static int PieceLength(Iova address, int left) =>
        (int)Math.Min((ulong)left, (1ul << PageShift) - (address.Value & ((1ul << PageShift) - 1)));

    private bool TranslateInside(in DmaRequest dma, out Request request, out ulong address, out MrifTarget? file)
    {
        bool translated;
        file = null;
        if (TryTranslateFast(dma, out address, out _, out _))
        {
            request = default;
            translated = true;
        }
        else
        {
            request = MakeRequest(dma);
            translated = Process(ref request, out Outcome outcome);
            address = outcome.Address;
            file = translated && outcome.IsMrif ? MakeTarget(outcome) : null;
        }

        _ = Injection.Hit(InjectionKind.MemoryRead);
        return translated;
    }

    private DmaStatus EndAccess(in Request request, bool translated, MemoryStatus access) =>
        translated ? EndAccess(access) : Conclude(request, default, translated: false).Status;

    private DmaStatus EndAccess(MemoryStatus access)
    {
        RaiseOverflow();
        return access == MemoryStatus.Success ? DmaStatus.Success : DmaStatus.CompleterAbort;
    }

    // tr_req_ctl (section 5.25): an untranslated request, at once, so that Go/Busy reads 0 afterwards.
    private void WriteTranslationRequest(ulong value)
    {
        const ulong Writable = TranslationRequestControl.PrivilegedBit | TranslationRequestControl.ExecuteBit
            | TranslationRequestControl.NoWriteBit | (0xf_fffful << TranslationRequestControl.PidShift)
            | TranslationRequestControl.PidValidBit | (0xff_fffful << TranslationRequestControl.DidShift);
        _trReqCtl = value & Writable;
        if ((value & TranslationRequestControl.GoBusyBit) == 0)
        {
            return;
        }

        DmaFlags flags = DmaFlags.None;
        flags |= (value & TranslationRequestControl.NoWriteBit) == 0 ? DmaFlags.Write : 0;
        flags |= (value & TranslationRequestControl.ExecuteBit) != 0 ? DmaFlags.Execute : 0;
        flags |= (value & TranslationRequestControl.PrivilegedBit) != 0 ? DmaFlags.Privileged : 0;
        flags |= (value & TranslationRequestControl.PidValidBit) != 0 ? DmaFlags.PasidValid : 0;
        DmaRequest dma = new(
            new((uint)(value >> TranslationRequestControl.DidShift)),
            new(_trReqIova),
            flags,
            Pasid: new((uint)(value >> TranslationRequestControl.PidShift) & Pasid.MaxValue));
        Request request = MakeRequest(dma);
        request.ForDebug = true;
        bool translated = Process(ref request, out Outcome outcome);

        // Before the fault's own interrupt, as for any other request.
        RaiseOverflowLocked();
        if (!translated)
        {
            ReportFault(request);
            _trResponse = TranslationResponse.FaultBit;
        }
        else
        {
            // The size is in the PPN: ones below the highest bit of the size's own bits (section 5.26).
            ulong size = 1ul << outcome.SizeLog2;
            ulong address = (outcome.Address & ~(size - 1)) | ((size >> 1) - 1);
            _trResponse = PpnField.FromAddress(address)
                | ((ulong)outcome.Pbmt << TranslationResponse.PbmtShift)
                | (size > 4096 ? TranslationResponse.SizeBit : 0);
        }
    }
}
