using Ioasis.Hardware;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;

namespace Ioasis.RiscV.Hardware;

/// <content>PCIe ATS commands and messages (sections 2.7, 3.1.4, 3.3).</content>
public sealed partial class RiscVIommu
{
    private struct OutstandingInvalidation
    {
        public bool IsBusy;
        public ushort RequesterId;
        public ushort? Segment;
        public int Responses;
    }

    private readonly OutstandingInvalidation[] _outstanding = new OutstandingInvalidation[32];
    private int _outstandingCount;
    private bool _invalidationTimedOut;

    private bool HasPendingInvalidations => _outstandingCount != 0;

    private CommandResult ExecuteAts(Command command)
    {
        if (!_capabilities.Ats || (command.Low & CommandBits.AtsReservedMask) != 0)
        {
            return CommandResult.Illegal;
        }

        switch (command.Function)
        {
            case CommandFunction.AtsInval:
                CountCommand(CommandKind.AtsInvalidate);
                _invalidatedSinceFence = true;
                if (!TrySendInvalidation(command))
                {
                    _invalidationWaits = true;
                    _waitingInvalidation = command;
                }

                return CommandResult.Done;
            case CommandFunction.AtsPrgr:
                CountCommand(CommandKind.AtsPageResponse);
                Depart(new(DepartureKind.PageResponse, Message: MakeMessage(command, PcieMessageCode.PageRequestGroupResponse, 0)));
                return CommandResult.Done;
            default:
                return CommandResult.Illegal;
        }
    }

    private static PcieMessage MakeMessage(Command command, int code, int tag) => new(
        (byte)code,
        (ushort)(command.Low >> CommandBits.RidShift),
        (command.Low & CommandBits.SegmentValidBit) != 0 ? (byte)(command.Low >> CommandBits.SegmentShift) : null,
        (command.Low & CommandBits.PidValidBit) != 0
            ? new((uint)(command.Low >> CommandBits.PidShift) & (uint)CommandBits.Mask20)
            : Pasid.Invalid,
        command.High,
        (byte)tag);

    private bool TrySendInvalidation(Command command)
    {
        for (int tag = 0; tag < Options.AtsInvalidationTags; tag++)
        {
            ref OutstandingInvalidation slot = ref _outstanding[tag];
            if (slot.IsBusy)
            {
                continue;
            }

            PcieMessage message = MakeMessage(command, PcieMessageCode.InvalidationRequest, tag);
            slot = new() { IsBusy = true, RequesterId = message.RequesterId, Segment = message.Segment };
            _outstandingCount++;
            Depart(new(DepartureKind.InvalidationRequest, Message: message));
            return true;
        }

        return false;
    }

    private void Release(ref OutstandingInvalidation slot)
    {
        slot.IsBusy = false;
        _outstandingCount--;
    }

    /// <summary>
    /// Takes an Invalidation Completion message (section 3.1.4): bits 31:0 of the payload name the tags, bits 34:32 how many
    /// completions the device sends for each (0 means 8).
    /// </summary>
    /// <returns>Whether it was expected; an unexpected one is dropped.</returns>
    public bool HandleInvalidationCompletion(in PcieMessage message)
    {
        bool expected = true;
        using (_lock.Acquire())
        {
            int wanted = (int)(message.Payload >> 32) & 7;
            for (int tag = 0; tag < Options.AtsInvalidationTags && expected; tag++)
            {
                if ((message.Payload >> tag & 1) == 0)
                {
                    continue;
                }

                ref OutstandingInvalidation slot = ref _outstanding[tag];
                expected = slot.IsBusy && slot.RequesterId == message.RequesterId
                    && (slot.Segment is null || slot.Segment == message.Segment);
                if (expected)
                {
                    slot.Responses = (slot.Responses + 1) & 7;
                    if (slot.Responses == wanted)
                    {
                        Release(ref slot);
                    }
                }
            }

            if (expected)
            {
                ResumeCommands();
            }
        }

        Deliver();
        return expected;
    }

    /// <summary>
    /// Tells that devices did not answer Invalidation Requests in time (section 3.1.4): the embedder owns the clock. The
    /// next IOFENCE.C, or the one that waits, reports it.
    /// </summary>
    /// <param name="tags">A bit for each tag whose time is over; tags that are not outstanding are ignored.</param>
    public void HandleInvalidationTimeout(uint tags)
    {
        using (_lock.Acquire())
        {
            for (int tag = 0; tag < Options.AtsInvalidationTags; tag++)
            {
                if ((tags >> tag & 1) != 0 && _outstanding[tag].IsBusy)
                {
                    Release(ref _outstanding[tag]);
                    _invalidationTimedOut = true;
                }
            }

            ResumeCommands();
        }

        Deliver();
    }

    /// <summary>
    /// Takes a Page Request or Stop Marker message (section 2.7): it goes to the page-request queue, or is answered or dropped.
    /// </summary>
    public void HandlePageRequest(in PcieMessage message)
    {
        Request request = new()
        {
            DeviceId = DeviceIdOf(message.Device),
            HasProcess = message.HasPasid,
            HadProcess = message.HasPasid,
            ProcessId = message.HasPasid ? message.Pasid.Value : 0,
            PrivilegedRequested = message.IsPrivileged,
            Type = TransactionType.MessageRequest,
            Iova = PcieMessageCode.PageRequest,
        };
        EnterAccess(out ReaderSlot? slot);
        bool enabled = MayRequestPages(ref request, out bool responseNeedsPasid);
        ExitAccess(slot);
        RaiseOverflow();
        using (_lock.Acquire())
        {
            PageResponseCode? response;
            if (enabled)
            {
                response = QueuePageRequest(message);
            }
            else
            {
                ReportFault(request);
                response = request.Cause == FaultCause.TransactionTypeDisallowed
                    ? PageResponseCode.InvalidRequest
                    : PageResponseCode.ResponseFailure;
            }

            if (response is { } code)
            {
                Respond(message, code, responseNeedsPasid);
            }
        }

        Deliver();
    }

    private bool MayRequestPages(ref Request request, out bool responseNeedsPasid)
    {
        responseNeedsPasid = false;
        Configuration configuration = Volatile.Read(ref _configuration);
        if (configuration.Mode == IommuMode.Off)
        {
            return Fail(ref request, FaultCause.AllInboundDisallowed);
        }

        if (configuration.Mode == IommuMode.Bare || IsTooWide(configuration, request.DeviceId))
        {
            return Fail(ref request, FaultCause.TransactionTypeDisallowed);
        }

        request.FillSequence = Volatile.Read(ref _invalidationSequence);
        if (!LocateDevice(configuration, ref request, out _, out DeviceContextData device))
        {
            return false;
        }

        request.DisableFaults = device.Has(DeviceTranslationControl.DisableTranslationFaultsBit);
        responseNeedsPasid = device.Has(DeviceTranslationControl.PrgResponsePasidRequiredBit);
        return device.Has(DeviceTranslationControl.EnablePriBit) || Fail(ref request, FaultCause.TransactionTypeDisallowed);
    }

    // Null if the record is in the queue, else how the request is to be answered.
    private PageResponseCode? QueuePageRequest(in PcieMessage message)
    {
        if (!_pageQueue.IsOn || (_pageQueue.Csr & QueueCsr.MemoryFaultBit) != 0)
        {
            return PageResponseCode.ResponseFailure;
        }

        if ((_pageQueue.Csr & QueueCsr.OverflowBit) != 0)
        {
            return PageResponseCode.Success;
        }

        PageResponseCode? result = null;
        uint next = (_pageQueue.Tail + 1) & _pageQueue.IndexMask;
        if (next == _pageQueue.Head)
        {
            _pageQueue.Csr |= QueueCsr.OverflowBit;
            result = PageResponseCode.Success;
        }
        else
        {
            ulong header = (ulong)(message.Device.Value & 0xff_ffff) << PageRequestRecord.DeviceShift;
            if (message.HasPasid)
            {
                header |= PageRequestRecord.PidValidBit | ((ulong)message.Pasid.Value << PageRequestRecord.PidShift)
                    | (message.IsPrivileged ? PageRequestRecord.PrivilegedBit : 0)
                    | (message.IsExecute ? PageRequestRecord.ExecuteBit : 0);
            }

            ulong address = PpnField.ToAddress(_pageQueue.Base) | ((ulong)_pageQueue.Tail * QueueBase.PageRequestSize);
            if (WriteDoublewords(address, _configuration.BigEndian, [header, message.Payload]) == MemoryStatus.Success)
            {
                _pageQueue.Tail = next;
            }
            else
            {
                _pageQueue.Csr |= QueueCsr.MemoryFaultBit;
                result = PageResponseCode.ResponseFailure;
            }
        }

        if (_pageQueue.HasInterrupts)
        {
            Raise(InterruptPending.PageRequestQueue);
        }

        return result;
    }

    // Only the last request of a group is answered, and a Stop Marker never.
    private void Respond(in PcieMessage message, PageResponseCode code, bool responseNeedsPasid)
    {
        const ulong Mask = PageRequestPayload.ReadBit | PageRequestPayload.WriteBit | PageRequestPayload.LastBit;
        ulong wants = message.Payload & Mask;
        if ((wants & PageRequestPayload.LastBit) == 0 || wants == PageRequestPayload.LastBit)
        {
            return;
        }

        ulong group = (message.Payload >> PageRequestPayload.GroupShift) & PageRequestPayload.GroupMask;
        bool withPasid = code == PageResponseCode.ResponseFailure || responseNeedsPasid;
        Depart(new(DepartureKind.PageResponse, Message: new(
            PcieMessageCode.PageRequestGroupResponse,
            message.RequesterId,
            message.Segment,
            withPasid ? message.Pasid : Pasid.Invalid,
            ((ulong)message.RequesterId << 48)
                | ((ulong)code << PageRequestPayload.ResponseCodeShift)
                | (group << PageRequestPayload.ResponseGroupShift))));
    }
}
