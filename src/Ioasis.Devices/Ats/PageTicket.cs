namespace Ioasis.Devices;

/// <summary>How an access through the device's own cache ended.</summary>
public enum AtsStatus
{
    /// <summary>Done.</summary>
    Success,

    /// <summary>A page is not there, or not for this access: it may be asked for.</summary>
    PageMissing,

    /// <summary>The IOMMU refused, or the memory did not answer.</summary>
    Error,
}

/// <summary>A page that was asked for.</summary>
public sealed class PageTicket
{
    private readonly Action<PageTicket>? _answered;
    private int _code = -1;

    internal PageTicket(Action<PageTicket>? answered) => _answered = answered;

    /// <summary>Whether the answer has come.</summary>
    public bool IsAnswered => Volatile.Read(ref _code) >= 0;

    /// <summary>Whether it is worth trying again: the page is there, or was.</summary>
    public bool IsSuccess => Volatile.Read(ref _code) == 0;

    /// <summary>The response code: 0 success, 1 invalid request, 15 response failure; -1 before the answer.</summary>
    public int Code => Volatile.Read(ref _code);

    /// <summary>Whether the answer carried the PASID of the request ("PRG Response PASID Required").</summary>
    public bool HasPasid { get; private set; }

    internal void Answer(int code, bool hasPasid = false)
    {
        HasPasid = hasPasid;
        Volatile.Write(ref _code, code);
        _answered?.Invoke(this);
    }
}
