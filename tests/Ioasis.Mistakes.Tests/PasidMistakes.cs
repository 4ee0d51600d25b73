using Ioasis.Core.Pasids.Tests;

namespace Ioasis.Mistakes.Tests;

/// <summary>Mistakes of the allocator of PASIDs.</summary>
public sealed class PasidMistakes
{
    [Fact]
    [Trait("Requirement", "S0.15")]
    public void A_handle_that_acts_on_its_successor() => Explorer.Finds("LifeNotCompared", static () => new ReadersAgainstReuse());

    [Fact]
    [Trait("Requirement", "S0.1")]
    public void A_quota_that_is_checked_outside_of_the_lock()
    {
        Explorer.Finds("QuotaCheckedOutsideLock", static () => new QuotaAgainstAllocate());
        Explorer.Finds("QuotaCheckedOutsideLock", static () => new TwoReservations());
        Explorer.Finds("QuotaCheckedOutsideLock", static () => new RecordedCalls(1, sameSet: true));
    }

    [Fact]
    [Trait("Requirement", "S2.1")]
    public void A_number_that_is_freed_without_a_drain() => Explorer.Finds("FreedWithoutDrain", static () => new StopAgainstDrain());

    [Fact]
    [Trait("Requirement", "S1.3")]
    public void A_reference_from_any_state() => Explorer.Finds("ReferenceFromAnyState", static () => new PutAgainstGet(true));

    [Fact]
    [Trait("Requirement", "S0.11")]
    public void A_quota_that_is_returned_while_numbers_are_held() =>
        Explorer.Finds("WholeQuotaReturned", static () => new FreeSetAgainstAllocate(false, true));

    [Theory]
    [InlineData("FreedWithoutDrain")]
    [InlineData("UnwindFreesForeignNumber")]
    [InlineData("GuestNumberLeaked")]
    [InlineData("ReferenceFromAnyState")]
    [InlineData("WholeQuotaReturned")]
    [Trait("Requirement", "S2.8")]
    public void What_needs_no_second_thread_is_found_by_the_model(string mistake)
    {
        // Whatever the mistake does to the model: a wrong answer, a broken invariant.
        using MadeMistake made = new(mistake);
        _ = Should.Throw<Exception>(Walk);
    }

    [Fact]
    public void The_model_finds_nothing_where_there_is_no_mistake() => Walk();

    private static void Walk()
    {
        Model model = new(24, checkAlways: true);
        Random random = new(3);
        for (int i = 0; i < 4000; i++)
        {
            model.Step(random.Next());
        }

        model.End();
    }
}
