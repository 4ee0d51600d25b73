using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Devices;

/// <summary>
/// The side of an endpoint that speaks PCIe ATS and PRI: it caches translations until it is told to forget them, asks for pages
/// that are missing, and takes the answers. A device model uses it instead of its port; it never blocks. Thread-safe.
/// </summary>
/// <remarks>
/// An Invalidation Completion is sent only when every access has ended that may use what was invalidated, as PCIe asks.
/// </remarks>
public sealed class EndpointAts
{
    private const int Groups = 512;
    private const ulong PageMask = 4095;

    private readonly IPcieAtsPort _link;
    private readonly IDmaPort _port;
    private readonly DeviceId _id;
    private readonly IoLock _lock = new();
    private readonly Dictionary<(uint Pasid, ulong Page), CachedPage> _cache = [];
    private readonly PageTicket?[] _pending = new PageTicket?[Groups];
    private readonly List<long> _inFlight = [];
    private readonly List<(long Before, PcieMessage Message)> _completions = [];
    private long _sequence;
    private int _nextGroup;
    private int _pendingCount;
    private bool _pagesDisabled;
    private ITranslationUse? _observer;

    /// <summary>Makes it.</summary>
    /// <param name="link">Where its messages go.</param>
    /// <param name="port">Where its requests go.</param>
    /// <param name="id">The requester.</param>
    /// <param name="pageRequests">Whether it may ask for pages.</param>
    public EndpointAts(IPcieAtsPort link, IDmaPort port, DeviceId id, bool pageRequests)
    {
        _link = link;
        _port = port;
        _id = id;
        HasPageRequests = pageRequests;
    }

    /// <summary>Whether the device may ask for pages.</summary>
    public bool HasPageRequests { get; }

    /// <summary>Most pages asked for at a time, 1 to 512: the "Outstanding Page Request Allocation".</summary>
    public int PageRequestLimit { get; init; } = 64;

    /// <summary>Who is told of each access; null for nobody.</summary>
    internal ITranslationUse? Observer { get => Volatile.Read(ref _observer); set => Volatile.Write(ref _observer, value); }

    /// <summary>Translations held.</summary>
    public int CachedCount
    {
        get
        {
            using (_lock.Acquire())
            {
                return _cache.Count;
            }
        }
    }

    /// <summary>Page requests that wait for their answer.</summary>
    public int PendingCount => Volatile.Read(ref _pendingCount);

    /// <summary>Requests made for pages, so far.</summary>
    public long PagesRequested { get; private set; }

    /// <summary>Invalidation requests so far.</summary>
    public long Invalidations { get; private set; }

    /// <summary>
    /// An answer was "response failure": no page is asked for until <see cref="EnablePageRequests"/> (PCIe, PRI status register).
    /// </summary>
    public bool PageRequestsStopped => Volatile.Read(ref _pagesDisabled);

    /// <summary>Reads memory of a process, as far as translations permit.</summary>
    /// <param name="pasid">The PASID, or none.</param>
    /// <param name="address">Any alignment.</param>
    /// <param name="destination">Gets the bytes.</param>
    /// <param name="done">Bytes that were read before the first page that is missing.</param>
    /// <returns>Success; <see cref="AtsStatus.PageMissing"/>; or <see cref="AtsStatus.Error"/>.</returns>
    public AtsStatus Read(Pasid pasid, ulong address, Span<byte> destination, out int done)
    {
        done = 0;
        while (done < destination.Length)
        {
            int length = PieceLength(address, destination.Length - done);
            AtsStatus status = Access(pasid, address, isWrite: false, destination.Slice(done, length), default);
            if (status != AtsStatus.Success)
            {
                return status;
            }

            done += length;
            address += (ulong)length;
        }

        return AtsStatus.Success;
    }

    /// <summary>Writes memory of a process, as far as translations permit; see <see cref="Read"/>.</summary>
    public AtsStatus Write(Pasid pasid, ulong address, ReadOnlySpan<byte> source, out int done)
    {
        done = 0;
        while (done < source.Length)
        {
            int length = PieceLength(address, source.Length - done);
            AtsStatus status = Access(pasid, address, isWrite: true, default, source.Slice(done, length));
            if (status != AtsStatus.Success)
            {
                return status;
            }

            done += length;
            address += (ulong)length;
        }

        return AtsStatus.Success;
    }

    /// <summary>Asks for a page. The answer comes through the ticket, perhaps before the call returns.</summary>
    /// <param name="pasid">The PASID, or none.</param>
    /// <param name="address">In the page.</param>
    /// <param name="access">Read, write or both.</param>
    /// <param name="ticket">Tells of the answer; null if nothing was asked.</param>
    /// <param name="answered">Called once when the answer has come; must not block.</param>
    /// <returns>
    /// Success; <see cref="Errno.Busy"/> while too many are asked for; <see cref="Errno.NotSupported"/> if the device does not ask
    /// for pages, or must not any more.
    /// </returns>
    public Errno RequestPage(
        Pasid pasid, ulong address, Access access, out PageTicket? ticket, Action<PageTicket>? answered = null)
    {
        ticket = null;
        int index;
        using (_lock.Acquire())
        {
            if (!HasPageRequests || _pagesDisabled)
            {
                return Errno.NotSupported;
            }

            if (_pendingCount >= PageRequestLimit)
            {
                return Errno.Busy;
            }

            while (_pending[_nextGroup] is not null)
            {
                _nextGroup = (_nextGroup + 1) % Groups;
            }

            index = _nextGroup;
            _nextGroup = (_nextGroup + 1) % Groups;
            ticket = new(answered);
            _pending[index] = ticket;
            _pendingCount++;
            PagesRequested++;
        }

        _link.HandlePageRequest(MakePageRequest(pasid, address, access, index, isLast: true));
        return Errno.Success;
    }

    /// <summary>Tells that the device has ended its use of a PASID: everything it asked for was before.</summary>
    public void SendStopMarker(Pasid pasid) =>
        _link.HandlePageRequest(MakePageRequest(pasid, 0, Primitives.Access.None, 0, isLast: true));

    /// <summary>Permits page requests again after a response failure; whatever was asked before is forgotten.</summary>
    public void EnablePageRequests()
    {
        List<PageTicket> forgotten = [];
        using (_lock.Acquire())
        {
            _pagesDisabled = false;
            for (int i = 0; i < Groups; i++)
            {
                if (_pending[i] is { } ticket)
                {
                    forgotten.Add(ticket);
                    _pending[i] = null;
                }
            }

            _pendingCount = 0;
        }

        forgotten.ForEach(static ticket => ticket.Answer(PcieAts.ResponseFailure));
    }

    /// <summary>Forgets the translations of a PASID of its own accord.</summary>
    public void Forget(Pasid pasid)
    {
        using (_lock.Acquire())
        {
            foreach ((uint Pasid, ulong Page) key in _cache.Keys)
            {
                if (key.Pasid == KeyOf(pasid))
                {
                    _ = _cache.Remove(key);
                }
            }
        }
    }

    /// <summary>Whether it holds a translation.</summary>
    public bool Knows(Pasid pasid, ulong address)
    {
        using (_lock.Acquire())
        {
            return _cache.ContainsKey((KeyOf(pasid), address >> 12));
        }
    }

    /// <summary>An Invalidation Request came.</summary>
    public void Invalidate(in PcieMessage message)
    {
        ulong page = message.Payload >> 12;
        bool isRange = (message.Payload & PcieAts.RangeBit) != 0;
        int pagesLog2 = isRange ? System.Numerics.BitOperations.TrailingZeroCount(~page) + 1 : 0;
        bool isGlobal = message.HasPasid && (message.Payload & PcieAts.GlobalBit) != 0;
        uint pasid = message.HasPasid ? KeyOf(message.Pasid) : 0;
        using (_lock.Acquire())
        {
            Invalidations++;
            if (!isRange)
            {
                if (!isGlobal)
                {
                    _ = _cache.Remove((pasid, page));
                }
            }

            if (isRange || isGlobal)
            {
                foreach ((uint Pasid, ulong Page) key in _cache.Keys)
                {
                    bool isAddressed = isGlobal ? key.Pasid != 0 : key.Pasid == pasid;
                    if (isAddressed && (pagesLog2 >= 52 || key.Page >> pagesLog2 == page >> pagesLog2))
                    {
                        _ = _cache.Remove(key);
                    }
                }
            }

            if (_inFlight.Count > 0)
            {
                _completions.Add((++_sequence, message));
                return;
            }
        }

        Complete(message);
    }

    /// <summary>A Page Request Group Response came.</summary>
    public void TakeResponse(in PcieMessage message)
    {
        int index = (int)(message.Payload >> PcieAts.ResponseGroupShift & PcieAts.GroupMask);
        int code = (int)(message.Payload >> PcieAts.ResponseCodeShift & 0xf);
        PageTicket? ticket;
        using (_lock.Acquire())
        {
            ticket = _pending[index];
            _pending[index] = null;
            _pendingCount -= ticket is null ? 0 : 1;
            if (code == PcieAts.ResponseFailure)
            {
                Volatile.Write(ref _pagesDisabled, true);
            }
        }

        ticket?.Answer(code, message.HasPasid);
    }

    // What has no PASID is one space, by whichever value of none the caller names it: an invalidation without PASID finds it.
    private static uint KeyOf(Pasid pasid) => pasid.IsPresent ? pasid.Value : 0;

    private static int PieceLength(ulong address, int left) => (int)Math.Min((ulong)left, PageMask + 1 - (address & PageMask));

    private AtsStatus Access(Pasid pasid, ulong address, bool isWrite, Span<byte> destination, ReadOnlySpan<byte> source)
    {
        long mark;
        CachedPage page;
        ITranslationUse? observer = Observer;
        long? begun = observer?.Begin();
        using (_lock.Acquire())
        {
            mark = ++_sequence;
            _inFlight.Add(mark);
            _ = _cache.TryGetValue((KeyOf(pasid), address >> 12), out page);
        }

        AtsStatus status = AtsStatus.Success;
        if (page.Allows(isWrite) || (status = Translate(pasid, address, isWrite, mark, out page)) == AtsStatus.Success)
        {
            // A translated request carries no PASID unless software enabled it (PCIe 6.0, 7.8.9.3, "Translated Requests with PASID Enable").
            DmaFlags flags = isWrite ? DmaFlags.Write : DmaFlags.None;
            DmaRequest request = new(_id, new(page.Address + (address & PageMask)), flags, DmaKind.Translated);
            if (begun is { } moment)
            {
                DmaFlags untranslated = flags | (pasid.IsPresent ? DmaFlags.PasidValid : DmaFlags.None);
                observer!.Used(new(_id, new(address), untranslated, DmaKind.Untranslated, pasid), new(request.Address.Value), moment);
            }

            DmaStatus done = isWrite ? _port.Write(request, source) : _port.Read(request, destination);
            status = done == DmaStatus.Success ? AtsStatus.Success : AtsStatus.Error;
        }

        EndAccess(mark);
        return status;
    }

    // A translation that was overtaken by an invalidation is used for this access, which the invalidation waits for, and not kept.
    private AtsStatus Translate(Pasid pasid, ulong address, bool isWrite, long mark, out CachedPage page)
    {
        DmaFlags flags = (pasid.IsPresent ? DmaFlags.PasidValid : DmaFlags.None) | (isWrite ? DmaFlags.None : DmaFlags.NoWrite);
        _port.Translate(
            new(_id, new(address & ~PageMask), flags, DmaKind.TranslationRequest, pasid), out DmaTranslation translation);
        page = default;
        if (translation.Status != DmaStatus.Success)
        {
            return AtsStatus.Error;
        }

        bool reads = (translation.Flags & DmaTranslationFlags.Read) != 0;
        bool writes = (translation.Flags & DmaTranslationFlags.Write) != 0;
        page = new(translation.Address.Value & ~PageMask, reads, writes);
        if (!page.Allows(isWrite))
        {
            return AtsStatus.PageMissing;
        }

        using (_lock.Acquire())
        {
            if (!_completions.Exists(c => c.Before > mark))
            {
                _cache[(KeyOf(pasid), address >> 12)] = page;
            }
        }

        return AtsStatus.Success;
    }

    private void EndAccess(long mark)
    {
        List<PcieMessage>? ready = null;
        using (_lock.Acquire())
        {
            _ = _inFlight.Remove(mark);
            if (_completions.Count == 0)
            {
                return;
            }

            long oldest = _inFlight.Count == 0 ? long.MaxValue : _inFlight.Min();
            foreach ((long before, PcieMessage message) in _completions)
            {
                if (before < oldest)
                {
                    (ready ??= []).Add(message);
                }
            }

            _ = _completions.RemoveAll(c => c.Before < oldest);
        }

        ready?.ForEach(message => Complete(message));
    }

    private void Complete(in PcieMessage message) => _link.HandleInvalidationCompletion(new(
        PcieAts.InvalidationCompletionCode,
        message.RequesterId,
        message.Segment,
        Pasid.Invalid,
        (1ul << 32) | (1ul << message.Tag)));

    private PcieMessage MakePageRequest(Pasid pasid, ulong address, Access access, int index, bool isLast) => new(
        PcieAts.PageRequestCode,
        _id.RequesterId,
        _id.Segment,
        pasid.IsPresent ? pasid : Pasid.Invalid,
        (address & ~PageMask)
            | ((access & Primitives.Access.Read) != 0 ? PcieAts.ReadBit : 0)
            | ((access & Primitives.Access.Write) != 0 ? PcieAts.WriteBit : 0)
            | (isLast ? PcieAts.LastBit : 0)
            | ((ulong)index << PcieAts.GroupShift));

    private readonly record struct CachedPage(ulong Address, bool Reads, bool Writes)
    {
        public bool Allows(bool isWrite) => isWrite ? Writes : Reads;
    }
}
