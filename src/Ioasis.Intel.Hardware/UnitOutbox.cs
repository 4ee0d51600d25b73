using Ioasis.Hardware;
using Ioasis.Platform;

namespace Ioasis.Intel.Hardware;

/// <summary>What a unit sends.</summary>
internal enum DepartureKind
{
    /// <summary>An interrupt of the unit itself.</summary>
    Interrupt,

    /// <summary>An ATS Invalidation Request.</summary>
    InvalidationRequest,

    /// <summary>A Page Request Group Response.</summary>
    PageResponse,
}

/// <summary>One thing that a unit sends.</summary>
internal readonly record struct Departure(DepartureKind Kind, ulong Address = 0, uint Data = 0, PcieMessage Message = default);

/// <summary>Interrupts of the unit and messages to devices.</summary>
internal sealed class UnitOutbox(IoLock registers, IMsiSink? interrupts, IPcieLink? link) : Outbox<Departure>(registers)
{
    protected override void Send(in Departure item)
    {
        switch (item.Kind)
        {
            case DepartureKind.Interrupt:
                _ = interrupts?.Send(new(item.Address), item.Data);
                break;
            case DepartureKind.InvalidationRequest:
                link?.SendInvalidationRequest(item.Message);
                break;
            case DepartureKind.PageResponse:
                link?.SendPageRequestGroupResponse(item.Message);
                break;
        }
    }
}
