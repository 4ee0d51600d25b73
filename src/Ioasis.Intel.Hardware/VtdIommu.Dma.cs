using System.Runtime.CompilerServices;
using Ioasis.Hardware;
using Ioasis.Intel.Architecture;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Intel.Hardware;

/// <content>The device side: <see cref="IDmaPort"/> and page requests.</content>
public sealed partial class VtdIommu
{
    private const int PageShift = 12;

    // Bytes that are accessed between two looks of an invalidation wait.
    private const int LongestRun = 1 << 16;

    // Which bit of a TranslationValue permits a request, by DmaFlags; 63, which is never set, for what the slow path has to look at.
    private static ReadOnlySpan<byte> PermissionOf =>
    [
        // None, Write, Execute, Execute|Write; then with Privileged, NoWrite, Cxl (which change nothing without a PASID).
        0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1,

        // With a PASID, Execute faults and Privileged has rights of its own.
        0, 1, 63, 63, 3, 4, 63, 63, 0, 1, 63, 63, 3, 4, 63, 63, 0, 1, 63, 63, 3, 4, 63, 63, 0, 1, 63, 63, 3, 4, 63, 63,
    ];

    /// <inheritdoc/>
    public void Translate(in DmaRequest request, out DmaTranslation translation)
    {
        // The most frequent case: a hit on a page of 4 KiB. No call is made, so that no register has to be saved. No entry of that size is ever
        // filled for a request without PASID to the interrupt range.
        ulong iova = request.Address.Value;
        ulong key = request.Device.Value ^ _segmentBits;
        uint flags = (uint)request.Flags;
        if (request.Kind == DmaKind.Untranslated)
        {
            if ((flags & (uint)DmaFlags.PasidValid) != 0)
            {
                key = Request.KeyOf(key, request.Pasid.Value);
            }

            CachedContext? context = _caches.Contexts.First(key);
            if (context is not null && context.Key == key && context.Space is { } space && context.Counters is null
                && ((iova + context.RangeBias) & context.RangeMask) == 0 && _iotlb is { } iotlb)
            {
                ulong value = iotlb.FindPage(space, iova);
                if ((value >> PermissionOf[(int)(flags & 63)] & 1) != 0)
                {
                    translation = new(new((value & Iotlb.AddressMask) | (iova & 0xfff)), DmaStatus.Success);
                    return;
                }
            }
        }

        TranslateOtherPages(request, out translation);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private void TranslateOtherPages(in DmaRequest request, out DmaTranslation translation)
    {
        if (TryTranslateCached(request, out ulong address, out int sizeLog2))
        {
            translation = new(new(address), DmaStatus.Success, (byte)sizeLog2);
            return;
        }

        ReaderSlot slot = ReaderSlot.Current;
        slot.Enter(_place);
        Request inner = MakeRequest(request, isZeroLength: false);
        Route route = Resolve(ref inner, out Context context, out Translation found);
        slot.Exit();
        translation = route switch
        {
            Route.Translated => Complete(inner, context, found),
            Route.InterruptRange when inner.Kind == DmaKind.TranslationRequest => CompleteInterruptRange(inner),

            // Whether the interrupt is let through depends on what is stored.
            Route.InterruptRange when inner.Writes => new(new(inner.Address), DmaStatus.Success, 12, 0, DmaTranslationFlags.Interrupt),
            _ => Conclude(ref inner, route),
        };
    }

    // An untranslated request whose context and page are cached and that is permitted: no lock, no allocation, no shared line written.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private bool TryTranslateCached(in DmaRequest dma, out ulong address, out int sizeLog2)
    {
        ulong iova = dma.Address.Value;
        uint flags = (uint)dma.Flags;
        bool hasPasid = (flags & (uint)DmaFlags.PasidValid) != 0;
        ulong key = KeyOf(dma);
        address = 0;
        sizeLog2 = 12;
        if (dma.Kind != DmaKind.Untranslated
            || (!hasPasid && InterruptAddress.Contains(iova))
            || _caches.Find(key) is not { } context
            || ((iova + context.RangeBias) & context.RangeMask) != 0)
        {
            return false;
        }

        int permission = PermissionOf[(int)(flags & 63)];
        if (context.IsPassThrough)
        {
            if (permission == 63 || InterruptAddress.Contains(iova) || (permission >= 3 && !context.Context.AllowsSupervisor))
            {
                return false;
            }

            address = iova;
        }
        else
        {
            if (context.Space is not { } space || _iotlb is not { } iotlb
                || !iotlb.TryFind(space, iova, out ulong value, out sizeLog2) || (value >> permission & 1) == 0)
            {
                return false;
            }

            address = Iotlb.AddressOf(value, sizeLog2, iova);
        }

        context.Counters?.CountHit();
        return true;
    }

    /// <inheritdoc/>
    public DmaStatus Read(in DmaRequest request, Span<byte> destination)
    {
        ReaderSlot slot = ReaderSlot.Current;
        slot.Enter(_place);
        if (TryFindPiece(request, request.Flags & ~DmaFlags.Write, destination.Length, out ulong address))
        {
            _ = Injection.Hit(InjectionKind.MemoryRead);
            MemoryStatus access = _memory.Read(new(address), destination);
            slot.Exit();
            return StatusOf(access);
        }

        slot.Exit();
        return ReadPieces(request, destination);
    }

    /// <inheritdoc/>
    public DmaStatus Write(in DmaRequest request, ReadOnlySpan<byte> source)
    {
        ReaderSlot slot = ReaderSlot.Current;
        slot.Enter(_place);
        if (TryFindPiece(request, request.Flags | DmaFlags.Write, source.Length, out ulong address))
        {
            _ = Injection.Hit(InjectionKind.MemoryRead);
            MemoryStatus access = _memory.Write(new(address), source);
            slot.Exit();
            return StatusOf(access);
        }

        slot.Exit();
        return WritePieces(request, source);
    }

    // Of the context of a request's device, or of its PASID.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private ulong KeyOf(in DmaRequest dma)
    {
        ulong key = dma.Device.Value ^ _segmentBits;
        return (dma.Flags & DmaFlags.PasidValid) != 0 ? Request.KeyOf(key, dma.Pasid.Value) : key;
    }

    // Inside an access, the most frequent one: within 4 KiB that are cached and permitted.
    // Not inlined: it ends with the wide registers clean, which the copy needs.
    [MethodImpl(MethodImplOptions.NoInlining)]
    private bool TryFindPiece(in DmaRequest request, DmaFlags access, int length, out ulong address)
    {
        ulong iova = request.Address.Value;
        uint flags = (uint)access;
        bool hasPasid = (flags & (uint)DmaFlags.PasidValid) != 0;
        ulong key = KeyOf(request);
        address = 0;
        CachedContext? context = _caches.Contexts.First(key);
        if (request.Kind != DmaKind.Untranslated
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
            // Larger pages may have the interrupt range in them.
            return (hasPasid || !InterruptAddress.Contains(iova)) && iotlb.TryFindAddress(space, iova, permission, out address);
        }

        address = (value & Iotlb.AddressMask) | (iova & ((1ul << PageShift) - 1));
        return (value >> permission & 1) != 0;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private DmaStatus ReadPieces(in DmaRequest request, Span<byte> destination)
    {
        DmaRequest piece = request with { Flags = request.Flags & ~DmaFlags.Write };
        do
        {
            ReaderSlot slot = ReaderSlot.Current;
            slot.Enter(_place);
            int length = TranslateRun(ref piece, destination.Length, out ulong address);
            DmaStatus status;
            if (length > 0)
            {
                MemoryStatus access = _memory.Read(new(address), destination[..length]);
                slot.Exit();
                status = StatusOf(access);
            }
            else
            {
                slot.Exit();
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
        while (destination.Length > 0);

        return DmaStatus.Success;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private DmaStatus WritePieces(in DmaRequest request, ReadOnlySpan<byte> source)
    {
        DmaRequest piece = request with { Flags = request.Flags | DmaFlags.Write };
        bool isDoubleword = source.Length == 4 && (request.Address.Value & 3) == 0;
        while (source.Length > 0)
        {
            ReaderSlot slot = ReaderSlot.Current;
            slot.Enter(_place);
            int length = TranslateRun(ref piece, source.Length, out ulong address);
            DmaStatus status;
            if (length > 0)
            {
                MemoryStatus access = _memory.Write(new(address), source[..length]);
                slot.Exit();
                status = StatusOf(access);
            }
            else
            {
                slot.Exit();
                length = PieceLength(piece.Address, source.Length);
                status = WritePiece(piece, source[..length], isDoubleword);
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
    // found moves the request on; 0 for a first page that has to be looked at by itself, and for no bytes.
    private int TranslateRun(ref DmaRequest dma, int most, out ulong address)
    {
        address = 0;
        PrefetchRun(dma, most);
        if (most == 0 || !TryTranslateCached(dma, out address, out _))
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
        if (most > 1 << PageShift && _iotlb is { } iotlb && _caches.Find(KeyOf(dma)) is { Space: { } space })
        {
            iotlb.Prefetch(space, dma.Address.Value, most);
        }
    }

    // The pages behind the first, whose context is the same. What is not plain is left for the next run.
    private int ExtendRun(in DmaRequest dma, int length, int most, ulong address)
    {
        uint flags = (uint)dma.Flags;
        bool hasPasid = (flags & (uint)DmaFlags.PasidValid) != 0;
        int permission = PermissionOf[(int)(flags & 63)];
        ulong key = KeyOf(dma);
        if (permission == 63 || _caches.Find(key) is not { Counters: null, IsPassThrough: false, Space: { } space } context || _iotlb is not { } iotlb)
        {
            return length;
        }

        // Without PASID the interrupt range is none of memory.
        ulong iova = dma.Address.Value;
        if (!hasPasid && iova < InterruptAddress.First)
        {
            most = (int)Math.Min((ulong)most, InterruptAddress.First - iova);
        }

        return iotlb.ExtendRun(space, permission, (context.RangeBias, context.RangeMask), dma.Address.Value, address, length, most);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private DmaStatus ReadPiece(in DmaRequest piece, Span<byte> destination)
    {
        // A read of 0 bytes is translated too (section 3.14).
        bool isZeroLength = destination.Length == 0;
        ReaderSlot slot = ReaderSlot.Current;
        slot.Enter(_place);
        bool translated = TryTranslateInside(piece, isZeroLength, out Request inner, out Route route, out ulong address);
        MemoryStatus access = translated && !isZeroLength ? _memory.Read(new(address), destination) : MemoryStatus.Success;
        slot.Exit();
        return translated ? StatusOf(access)
            : route == Route.InterruptRange && isZeroLength ? DmaStatus.Success
            : Conclude(ref inner, route).Status;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private DmaStatus WritePiece(in DmaRequest piece, ReadOnlySpan<byte> source, bool isDoubleword)
    {
        ReaderSlot slot = ReaderSlot.Current;
        slot.Enter(_place);
        bool translated = TryTranslateInside(piece, isZeroLength: false, out Request inner, out Route route, out ulong address);
        if (!translated && route == Route.InterruptRange && isDoubleword)
        {
            DmaStatus status = DeliverInterrupt(ref inner, source, out bool report, out uint index);
            slot.Exit();
            RecordInterrupt(inner, report, index);
            return status;
        }

        MemoryStatus access = translated ? _memory.Write(new(address), source) : MemoryStatus.Success;
        slot.Exit();
        return translated ? StatusOf(access) : Conclude(ref inner, route).Status;
    }

    /// <summary>
    /// Takes a Page Request or Stop Marker message (section 7.4): it goes to the page request queue, or is answered or dropped.
    /// </summary>
    public void HandlePageRequest(in PcieMessage message)
    {
        Configuration configuration = _registers.Configuration;
        if (!_pageRequests.IsSupported || !configuration.TranslationEnabled || (message.Segment ?? Options.Segment) != Options.Segment)
        {
            return;
        }

        Request request = new()
        {
            Requester = message.RequesterId,
            IsPageRequest = true,
            HasPasid = message.HasPasid,
            Pasid = message.HasPasid ? message.Pasid.Value : 0,
            Supervisor = message.IsPrivileged,
            Address = message.Payload & ~0xffful,
        };
        ReaderSlot slot = ReaderSlot.Current;
        slot.Enter(_place);
        request.FillSequence = Volatile.Read(ref _cacheState.Sequence);
        bool accepted = _contextWalker.TryFind(configuration, ref request, out Context context);
        slot.Exit();
        using (_lock.Acquire())
        {
            if (accepted)
            {
                InvalidateForPageRequest(request, context);
                _pageRequests.Queue(message);
            }
            else
            {
                RecordUnlessDisabled(request);
                _pageRequests.Answer(message, PageResponseCode.InvalidRequest);
            }
        }

        _outbox.Deliver();
    }

    // Table 27: what may be stale because software need not invalidate when it grants more.
    private void InvalidateForPageRequest(in Request request, in Context context)
    {
        bool isFirstStage = context.Type == PasidTranslationType.FirstStage;
        TranslationInvalidation invalidation = new() { IsPasidBased = isFirstStage, DomainId = context.DomainId, Pasid = context.Pasid };
        _ = _caches.Invalidate(context.Type == PasidTranslationType.Nested
            ? invalidation
            : TranslationInvalidation.WithRange(invalidation, request.Address, 0));
    }

    private static int PieceLength(Iova address, int left) =>
        (int)Math.Min((ulong)left, (1ul << PageShift) - (address.Value & ((1ul << PageShift) - 1)));

    private static DmaStatus StatusOf(MemoryStatus access) =>
        access == MemoryStatus.Success ? DmaStatus.Success : DmaStatus.CompleterAbort;

    private bool TryTranslateInside(in DmaRequest dma, bool isZeroLength, out Request request, out Route route, out ulong address)
    {
        if (TryTranslateCached(dma, out address, out _))
        {
            request = default;
            route = Route.Translated;
        }
        else
        {
            request = MakeRequest(dma, isZeroLength);
            route = Resolve(ref request, out _, out Translation found);
            address = found.Address;
        }

        _ = Injection.Hit(InjectionKind.MemoryRead);
        return route == Route.Translated;
    }
}
